"""Paper 36, PPR / ReNorm (arXiv 2509.25598): its claim in the small.

A desk with notes, and two ways to answer of which one is right. A judge likes every note (p = 1),
though none changes the answer, and each may use up the time, which fails the episode. One small
transformer, warm-started to note and to answer either way, is trained twice from there on the steps
of `ProcessReward`: with the raw sum of judge and outcome, and with ReNorm.
"""

from __future__ import annotations

import copy
import random
import re
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from agentrl.core import Episode, Task, Turn
from agentrl.environments import Environment
from agentrl.environments.base import Observation
from agentrl.papers.kit.toys import Fixed
from agentrl.papers.kit.world import Rows, World, on_every_seed
from agentrl.papers.registry import Measured
from agentrl.rewards.judges.scripted import ScriptedChat
from agentrl.rewards.process.principles import Mode, ProcessReward
from agentrl.tools import tool

CLAIM = (
    "Where a judge likes steps that do not change the outcome, the raw sum of step and outcome "
    "rewards makes episodes longer and no more accurate; with ReNorm they get shorter and accurate."
)
NOTE, LEFT, RIGHT = "[note()]", "[left()]", "[right()]"
TIME_OUT = 0.6
UPDATES, EPISODES, EVALUATED = 22, 48, 200
MOVED = 0.15


class Desk(Environment):
    """Notes are free until the time is up; one of two answers is right."""

    def __init__(self, luck: Random) -> None:
        self.luck = luck
        self.answer = ""

    def reset(self, task: Task) -> str:
        return task.prompt

    async def step(self, turn: Turn) -> Observation:
        """A message that is no call ends the work: babble is no way to pass the time."""
        seen = await super().step(turn)
        self.done = seen.done = seen.done or any(call.error for call in turn.calls)
        return seen

    @tool
    async def note(self) -> str:
        """Write a note."""
        self.done = self.luck.random() < TIME_OUT
        return "time is up" if self.done else "noted"

    @tool
    async def left(self) -> str:
        """Answer left."""
        self.answer, self.done = "left", True
        return "answered"

    @tool
    async def right(self) -> str:
        """Answer right."""
        self.answer, self.done = "right", True
        return "answered"

    async def finish(self, episode: Episode) -> dict[str, Any]:
        return {"right": self.answer == "right", "answered": bool(self.answer)}


WORLD = World(
    Task("desk", "Left or right?"),
    Desk,
    [NOTE, LEFT, RIGHT, "noted", "time is up", "answered"],
    turns=8,
)


def reward(mode: Mode) -> ProcessReward:
    """The judge: 1 of 1 for every note that it is shown, 0 for any other step."""

    def like(text: str, seed: int) -> dict[str, object]:
        steps = re.findall(r"^\[(\d+)\] (.*)$", text, re.MULTILINE)
        scored = [{"number": int(n), "score": NOTE in said, "most": 1} for n, said in steps]
        return {"steps": scored}

    return ProcessReward(Fixed(read="right"), ScriptedChat(like), mode, answered="answered")


def clerk(seed: int) -> Generator[str, str, None]:
    """Notes about half of the time, else answers either way."""
    rng = random.Random(seed)
    yield ""
    while True:
        yield rng.choices([NOTE, LEFT, RIGHT], [0.5, 0.25, 0.25])[0]


@dataclass(slots=True)
class Found:
    """Over the evaluation episodes: notes an episode, share of right answers."""

    notes: float
    accuracy: float


def run(seeds: Sequence[int]) -> Measured:
    """Train both ways on every seed; passes when the effect is there on each of them."""
    columns = ["seed", "mode", "notes before", "after", "accuracy before", "after"]
    return on_every_seed(seeds, columns, _run)


async def _run(seed: int) -> tuple[bool, Rows]:
    policy = await WORLD.imitate(clerk, reward("sum"), seed)
    start = await _trained(copy.deepcopy(policy), "sum", seed, updates=0)
    summed = await _trained(copy.deepcopy(policy), "sum", seed)
    renormed = await _trained(policy, "renorm", seed)
    return holds(start, summed, renormed), [
        [seed, mode, start.notes, end.notes, start.accuracy, end.accuracy]
        for mode, end in (("sum", summed), ("renorm", renormed))
    ]


async def _trained(policy: Any, mode: Mode, seed: int, updates: int = UPDATES) -> Found:
    channels = {"steps": {"source": "steps", "by": ("group", "turn"), "min_group": 8}}
    episodes = await WORLD.train(
        policy,
        reward(mode),
        WORLD.settings(1e-3, channels={"outcome": {"weight": 0.0}, **channels}),
        seed,
        updates=updates,
        group_size=EPISODES,
        evaluated=EVALUATED,
    )
    judged = [e for e in episodes if e.judged]
    notes = sum(sum(c.name == "note" for t in e.turns for c in t.calls) for e in judged)
    right = sum(bool(e.outcome["right"]) for e in judged)
    return Found(notes / len(judged), right / len(judged))


def holds(start: Found, summed: Found, renormed: Found) -> bool:
    """The effect, with moves of at least `MOVED`."""
    return (
        summed.notes >= start.notes + MOVED
        and summed.accuracy <= start.accuracy + 0.05
        and renormed.notes <= start.notes
        and renormed.accuracy >= start.accuracy + MOVED
    )
