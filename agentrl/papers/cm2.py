"""Paper 23, CM2: checklists credited by step or by trajectory, under a judge that errs.

A user has three wishes, each granted by two calls in order and a message that says so; the next
wish is only uttered when this one was granted (the strict gate of the simulated environment). After
every message a judge says of every item whether it holds, and is wrong in 15% of its verdicts. The
policy is a softmax over four words for each state of the dialogue. From one start it climbs the
gradient of either credit, neither divided by a deviation, at the same rate, in groups of two sizes.
What is measured is the truth: wishes granted.

Why the step loses in the end. Satisfaction is sticky, so whoever is asked more often is satisfied
sooner: "told" holds with probability 1 - q after the message that ends the wish, and with
1 - q (1 - q)^k when k idle calls stand before it. An advantage by step sees one wish, and likes
that; the trajectory's sees that the idle calls are missing for the wishes to come. That is a bias,
which no group averages out. Beside it, one step's advantage is as large as an item where the
trajectory's is its share of three wishes, so an error of the judge moves a word further; that
part falls as 1 / G.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from agentrl.core import Task, ToolCall, Turn, derive_seed
from agentrl.environments.simulated import SimulatedEnvironment
from agentrl.environments.simulated.environment import services_of
from agentrl.papers.kit.rollouts import softmax
from agentrl.papers.registry import Measured
from agentrl.rewards.process.checklist import (
    ChecklistItem,
    TurnCredit,
    step_advantages,
    turn_credit,
)
from agentrl.tools import ToolError, tool

CLAIM = (
    "With a judge that is wrong in 15% of its verdicts, credit by step grants more wishes than "
    "credit by trajectory early in training and fewer at its end; a larger group shrinks that gap; "
    "with a judge that is right there is none. An unmet strict item ends the dialogue."
)
Level = Literal["trajectory", "step"]
WISHES, NOISE, MOST = 3, 0.15, 15
SMALL, LARGE, UPDATES, RATE = 8, 32, 90, 33.0
POLICIES = {SMALL: 48, LARGE: 16}
"""Trained beside each other: one run in groups of eight says little."""
EARLY, LATE = slice(10), slice(-15, None)
WORDS = ("find", "book", "chat", "done")
START, FOUND, BOOKED = range(3)
ITEMS = [
    ChecklistItem(id="found", question="Was it found?", weight=0.2),
    ChecklistItem(id="booked", question="Was it booked?", weight=0.5, needs=["found"], strict=True),
    ChecklistItem(id="told", question="Was the user told so?", weight=0.3, needs=["booked"]),
]
WEIGHTS = np.array([item.weight for item in ITEMS])
MIN_GROUP = 5
"""Fewer dialogues that heard a wish teach nothing about it by step."""
Pairs = list[tuple[float, float]]


class Desk:
    """Books what was found."""

    found = False

    @tool
    async def find(self) -> str:
        """Find what the user wants."""
        self.found = True
        return "found"

    @tool
    async def book(self) -> str:
        """Book what was found."""
        if not self.found:
            raise ToolError("find it first")
        return "booked"

    @tool
    async def chat(self) -> str:
        """Pass the time."""
        return "chatted"


def dialogue() -> Task:
    """The user's wishes, with what each requires."""
    require = [{"name": name} for name in ("find", "book")]
    wishes = [{"say": f"I want thing {w}.", "require": require} for w in range(WISHES)]
    return Task("dialogue", "", payload={"services": {"desk": {}}, "user": wishes})


async def rules() -> tuple[np.ndarray, np.ndarray]:
    """What the simulated environment makes of every word in every state of a wish.

    Returns:
        int64[states, words], the state after it; bool[states], whether a message to the user there
        brings the next wish (else the dialogue is over).
    """
    after = np.empty((3, len(WORDS)), np.int64)
    heard = np.zeros(3, bool)
    for state, said in enumerate(([], ["find"], ["find", "book"])):
        for w, word in enumerate(WORDS):
            environment = SimulatedEnvironment(make_services=services_of({"desk": _desk}))
            await environment.reset(dialogue())
            for name in [*said, word]:
                calls = [] if name == "done" else [ToolCall(name)]
                turn = Turn(np.zeros(0, np.int32), np.zeros(0, np.float32), name, calls)
                seen = await environment.step(turn)
            got = {c.name for c, r in zip(turn.calls, turn.results, strict=True) if r.ok}
            after[state, w] = max(state, FOUND * ("find" in got), BOOKED * ("book" in got))
            if not turn.calls:
                heard[state] = not seen.done
    return after, heard


def _desk(state: object) -> Desk:
    return Desk()


@dataclass(slots=True)
class Played:
    """T messages of G dialogues of each of P policies; those after the end are not `alive`."""

    wish: np.ndarray  # int64[T, P, G]
    state: np.ndarray  # int64[T, P, G], before the message
    word: np.ndarray  # int64[T, P, G]
    alive: np.ndarray  # bool[T, P, G]
    holds: np.ndarray  # bool[T, P, G, items], after the message
    granted: np.ndarray  # int64[P, G], wishes


class World:
    """Dialogues by the rules of the environment."""

    def __init__(self, rules: tuple[np.ndarray, np.ndarray]) -> None:
        self.after, self.heard = rules

    def play(self, logits: np.ndarray, group: int, rng: np.random.Generator) -> Played:
        """Dialogues of policies float64[P, wishes, states, words]."""
        until = softmax(logits).cumsum(-1)
        shape = len(logits), group
        policy = np.arange(len(logits))[:, None]
        wish, state = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        alive, lines = np.ones(shape, bool), []
        for _ in range(MOST):
            at = until[policy, wish.clip(max=WISHES - 1), state]
            word = (rng.random((*shape, 1)) > at[..., :-1]).sum(-1)
            after, told = self.after[state, word], word == WORDS.index("done")
            holds = np.stack([after >= FOUND, after >= BOOKED, told & (state == BOOKED)], -1)
            lines.append((wish, state, word, alive, holds))
            goes_on = told & self.heard[state]
            wish = wish + (goes_on & alive)
            state = np.where(goes_on, START, after)
            alive = alive & ~(told & ~goes_on) & (wish < WISHES)
        said = [np.stack(column) for column in zip(*lines, strict=True)]
        return Played(said[0], said[1], said[2], said[3], said[4], wish)


def run(seeds: Sequence[int]) -> Measured:
    after, heard = found_rules = asyncio.run(rules())
    stops = heard.tolist() == [False, False, True] and after[START, WORDS.index("book")] == START
    world = World(found_rules)
    rows: list[list[str | int | float]] = []
    passed = stops
    for seed in seeds:
        found: dict[tuple[float, int], list[tuple[float, float]]] = {}
        for noise, group in ((NOISE, SMALL), (NOISE, LARGE), (0.0, SMALL)):
            for level in ("trajectory", "step"):
                ends = train(world, level, group, noise, seed)
                found.setdefault((noise, group), []).append(ends)
                rows.append([seed, noise, group, level, *ends])
        passed &= holds(found[NOISE, SMALL], found[NOISE, LARGE], found[0.0, SMALL])
    columns = ["seed", "judge errs", "group", "credit by", "granted early", "at the end"]
    return Measured(passed, columns, rows)


def holds(small: Pairs, large: Pairs, quiet: Pairs) -> bool:
    """The effect, from (early, at the end) by trajectory and by step."""
    early, end = _lead(small)
    return early > 0.02 and end < -0.1 and _lead(large)[1] > end + 0.03 and _lead(quiet)[1] > -0.03


def _lead(pair: Pairs) -> tuple[float, float]:
    """How much more the step's credit has, early and at the end."""
    (early, end), (early_step, end_step) = pair
    return early_step - early, end_step - end


def train(world: World, level: Level, group: int, noise: float, seed: int) -> tuple[float, float]:
    """Share of wishes granted over the first and the last updates, mean over the policies."""
    rng = np.random.default_rng(derive_seed(seed, "cm2", noise, group))
    logits = np.zeros((POLICIES[group], WISHES, 3, len(WORDS)))
    policy = np.arange(len(logits))[:, None]
    granted = []
    for _ in range(UPDATES):
        played = world.play(logits, group, rng)
        granted.append(float(played.granted.mean()) / WISHES)
        verdicts = played.holds ^ (rng.random(played.holds.shape) < noise)
        gains = advantages(played, verdicts, level) / played.alive.sum(0) / group
        chances, where = softmax(logits), played.wish.clip(max=WISHES - 1)
        for wish, state, word, gain in zip(where, played.state, played.word, gains, strict=True):
            slope = np.eye(len(WORDS))[word] - chances[policy, wish, state]
            np.add.at(logits, (policy, wish, state), RATE * gain[..., None] * slope)
    return float(np.mean(granted[EARLY])), float(np.mean(granted[LATE]))


def advantages(played: Played, verdicts: np.ndarray, level: Level) -> np.ndarray:
    """float64[T, P, G], of each message over its policy's group; 0 after the end."""
    out, (_, policies, group) = np.zeros(played.wish.shape), played.wish.shape
    length = played.alive.sum(0)
    begin, end = (
        np.minimum([(played.wish < w + after).sum(0) for w in range(WISHES)], length)
        for after in (0, 1)
    )
    for p in range(policies):
        returns = np.zeros(group)
        for w in range(WISHES):
            reached = np.flatnonzero(end[w, p] > begin[w, p]).tolist()
            spans = [slice(begin[w, p, g], end[w, p, g]) for g in reached]
            credits = [_credit(verdicts[at, p, g]) for g, at in zip(reached, spans, strict=True)]
            returns[reached] += [float((c.flips * WEIGHTS).sum()) / WISHES for c in credits]
            if level == "step" and len(reached) >= MIN_GROUP:
                gains = step_advantages(ITEMS, credits)
                for g, at, gain in zip(reached, spans, gains, strict=True):
                    out[at, p, g] = gain
        if level == "trajectory":
            out[:, p] = np.where(played.alive[:, p], returns - returns.mean(), 0.0)
    return out


def _credit(verdicts: np.ndarray) -> TurnCredit:
    return _turn_credit(verdicts.tobytes(), len(verdicts))


@lru_cache(maxsize=1 << 16)
def _turn_credit(verdicts: bytes, steps: int) -> TurnCredit:
    return turn_credit(ITEMS, np.frombuffer(verdicts, bool).reshape(steps, len(ITEMS)))
