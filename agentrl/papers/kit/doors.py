"""Doors with four dials of six marks: a policy that guesses opens one in 1296 tries.

Each door has marks of its own, and a code of its own. Nothing is told before the end. A hint tells
the first moves.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agentrl.core import Episode, Message, Score, Task, derive_seed
from agentrl.environments import Environment, Observation
from agentrl.episodes import Limits, Runner, dialect
from agentrl.tools import tool

if TYPE_CHECKING:
    from agentrl.core import Engine, Turn
    from agentrl.models import Policy

DIALS = ("north", "east", "south", "west")
DOORS, MARKS = 6, 6
FOLLOWED = 0.96
"""How often the script makes a move that it is told."""
TURNS = len(DIALS)
TIERS = (2, 3, 4)
"""Moves that the three levels of a hint tell."""
TUTOR = "Write hint {level}. {reference}"


class Door(Environment):
    """One dial a turn; the door opens when all marks of its code are set. Nothing is told before
    the end."""

    def reset(self, task: Task) -> str:
        self.code, self.stands = list(task.payload["code"]), dict[str, int]()
        self.turns = 0
        return task.prompt

    @tool
    async def north(self, mark: int) -> str:
        """Turn this dial."""
        return self._turn("north", mark)

    @tool
    async def east(self, mark: int) -> str:
        """Turn this dial."""
        return self._turn("east", mark)

    @tool
    async def south(self, mark: int) -> str:
        """Turn this dial."""
        return self._turn("south", mark)

    @tool
    async def west(self, mark: int) -> str:
        """Turn this dial."""
        return self._turn("west", mark)

    async def step(self, turn: Turn) -> Observation:
        """A turn without a call turns nothing."""
        self.turns += 1
        over = self.turns == len(self.code)
        if not turn.calls:
            return Observation([Message("user", "turned")], done=over)
        said = await super().step(turn)
        return Observation(said.messages, done=over)

    async def finish(self, episode: Episode) -> dict[str, Any]:
        right = dict(zip(DIALS, self.code, strict=False))
        steps = [float(self.stands.get(name) == mark) for name, mark in right.items()]
        return {"resolved": self.stands == right, "step_scores": steps}

    def _turn(self, dial: str, mark: int) -> str:
        self.stands[dial] = mark
        return "turned"


@dataclass(slots=True)
class Opened:
    """1 for an open door."""

    name: str = "opened"

    async def score(self, episode: Episode) -> Score:
        return Score(float(episode.outcome["resolved"]))


def doors(seed: int) -> list[Task]:
    """The doors of a seed; their codes are known to whoever hints, and to nobody else."""
    rng = random.Random(derive_seed(seed, "codes"))
    return [door(number, draw_code(number, rng)) for number in range(DOORS)]


def draw_code(number: int, rng: random.Random) -> list[int]:
    """One mark of each dial of a door."""
    return [rng.choice(marks(number, dial)) for dial in range(len(DIALS))]


def marks(number: int, dial: int) -> range:
    """Of a dial of a door; no other has them."""
    first = (number * len(DIALS) + dial) * MARKS
    return range(first, first + MARKS)


def door(number: int, code: Sequence[int]) -> Task:
    """One door, with its moves as whoever hints knows them."""
    payload, reference = {"code": list(code)}, {"moves": moves(code)}
    return Task(f"door {number}", f"Open door {number}.", payload=payload, reference=reference)


def moves(code: Sequence[int]) -> str:
    """The calls that a code, or the beginning of one, stands for; one a line."""
    return "\n".join(call(dial, mark) for dial, mark in zip(DIALS, code, strict=False))


def call(dial: str, mark: int) -> str:
    return f"[{dial}(mark={mark})]"


def opener(seed: int) -> Generator[str, str, None]:
    """Nearly always makes the moves that a hint tells, and guesses the others."""
    rng = random.Random(seed)
    heard = yield ""
    named = re.search(r"Open door (\d+)", heard)
    assert named is not None
    told = re.findall(r"mark=(\d+)", heard.partition("Hint:")[2])
    for dial, name in enumerate(DIALS):
        follows = dial < len(told) and rng.random() < FOLLOWED
        yield call(name, int(told[dial]) if follows else rng.choice(marks(int(named[1]), dial)))


def tutor(seed: int) -> Generator[str, str, None]:
    """Writes the hint that it is asked for, from the moves that it is shown."""
    heard = yield ""
    level = re.search(r"Write hint (\d)", heard)
    assert level is not None
    yield "\n".join(re.findall(r"\[.*\]", heard.partition("moves:")[2])[: TIERS[int(level[1]) - 1]])


def runner(
    engine: Engine,
    policy: Policy,
    make: Callable[[], Environment] = Door,
    source: str = "policy",
) -> Runner:
    return Runner(
        engine,
        policy.tokenizer,
        dialect("pythonic"),
        make,
        Opened(),
        Limits(turns=TURNS, tokens=600, tokens_per_turn=16),
        source=source,
    )
