"""Paper 65, verifier-based against verifier-free: cloning right traces, or training by rewards.

One of some boxes holds what is looked for. Traces open them in order, and each has a style: it
opens every box once, twice or three times before it goes on. All of them find it in the end, so a
clone of any number of them learns the mix of styles, of which most are too slow for as many
messages as there are boxes. From a clone of a few, a small transformer is trained on as many
episodes of its own as the other clone is shown traces, by a verifier that says at every message
whether it was found by then (the paper's bi-level reward). Where all traces have one style there is
nothing for the verifier to choose, and the measure of that, sigma, is 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from agentrl.core import Episode, Score, Task, Turn, derive_seed
from agentrl.papers.kit.actor import Actor
from agentrl.papers.kit.world import Rows, on_every_seed
from agentrl.papers.registry import Measured
from agentrl.training.heterogeneity import anti_concentration, best_of_n, heterogeneity

CLAIM = (
    "Where right traces have many styles, a clone of them stays at their mix however many there "
    "are, and training by a verifier on as many episodes goes on to the best; the gap grows with "
    "the budget. With one style it is 0, and so is sigma."
)
STYLES = (1, 2, 3)
FEW, EACH, GROUP = 32, 64, 4
"""Traces of the first clone; more of them for each message of the budget; episodes of a target in
an update, which has them of every target."""
RATE, EVALUATED, DRAWS = 2e-3, 24, 4
PLAIN = {"outcome": {"scale": "none"}}
STATES, BRANCHES, CONTINUATIONS = 3, 4, 3


class Search:
    """An episode over `boxes` boxes; one in which nothing is found has return 0."""

    def __init__(self, boxes: int, target: int) -> None:
        self.task = Task(f"box {target} of {boxes}", "")
        self.boxes, self._target = boxes, f"box{target}"

    async def start(self) -> list[str]:
        return []

    async def act(self, turn: Turn) -> list[str] | None:
        return None if turn.text == self._target else ["empty"]

    async def finish(self, episode: Episode) -> None:
        """The share of the budget's messages after which it was found."""
        found = episode.turns[-1].text == self._target
        left = max(self.boxes + 1 - len(episode.turns), 0) / self.boxes
        episode.scores["reward"] = Score(found * left)


@dataclass(slots=True)
class Found:
    """Returns in messages; cloned and trained: after a quarter of the episodes, and after all."""

    sigma: float
    concentration: float
    base: float
    best: float
    cloned: list[float]
    trained: list[float]

    @property
    def gap(self) -> float:
        return self.trained[-1] - self.cloned[-1]


def run(seeds: Sequence[int]) -> Measured:
    columns = ["seed", "budget", "styles", "sigma^2", "c", "base", f"best of {DRAWS}"]
    columns += ["clone of 1/4", "of all", "trained on 1/4", "on all"]
    return on_every_seed(seeds, columns, _run)


async def _run(seed: int) -> tuple[bool, Rows]:
    worlds: list[tuple[int, Sequence[int]]] = [(4, STYLES), (8, STYLES), (8, (1,))]
    found = [await compare(seed, boxes, styles) for boxes, styles in worlds]
    return holds(*found), [
        [seed, boxes, len(styles), f.sigma, f.concentration, f.base, f.best, *f.cloned, *f.trained]
        for (boxes, styles), f in zip(worlds, found, strict=True)
    ]


def holds(short: Found, long: Found, alike: Found) -> bool:
    """The effect, in messages; a quarter of the own episodes is worth more than all traces."""
    return (
        all(f.gap > 0.1 * budget for f, budget in ((short, 4), (long, 8)))
        and long.gap > short.gap + 0.2
        and long.trained[0] > max(long.cloned) + 0.3
        and long.best > long.cloned[1]
        and long.concentration > 0.1
        and abs(alike.gap) < 0.3 * long.gap
        and abs(alike.sigma) < 0.3 * long.sigma
    )


async def compare(seed: int, boxes: int, styles: Sequence[int]) -> Found:
    """A clone of few traces, and what becomes of it by more traces and by its own episodes."""
    world = _World(boxes, styles, seed)
    few, more = await world.traces(FEW, "few"), await world.traces(EACH * boxes, "more")
    fresh = Actor([*(f"box{b}" for b in range(boxes)), "empty"], derive_seed(seed, "weights"))
    base = fresh.imitate(few, steps=100, rate=1e-2)
    draws = await world.returns(base)
    beside = (draws - draws.mean(1, keepdims=True)).ravel().tolist()
    sigma = await world.sigma(base)
    return Found(
        sigma,
        anti_concentration(beside, max(sigma, 0.0) ** 0.5, 0.25),
        float(draws.mean()),
        float(np.mean([best_of_n(row, row, DRAWS) for row in draws.tolist()])),
        [
            float((await world.returns(base.imitate(part, steps=50, rate=1e-2))).mean())
            for part in (more[: len(more) // 4], more)
        ],
        await world.trained(base, EACH // GROUP),
    )


class _World:
    """Episodes of one seed, budget and mix of styles."""

    def __init__(self, boxes: int, styles: Sequence[int], seed: int) -> None:
        self.boxes, self.styles, self.seed = boxes, styles, seed

    def _drawn(self, *names: object) -> int:
        return derive_seed(self.seed, self.boxes, len(self.styles), *names)

    async def _play(
        self, actor: Actor, count: int, name: object, most: int, scripts: Sequence[list[str]] = ()
    ) -> list[Episode]:
        games = [Search(self.boxes, number % self.boxes) for number in range(count)]
        return await actor.play(games, self._drawn("words", name), most=most, scripts=scripts)

    async def traces(self, count: int, name: str) -> list[Episode]:
        """Right ones, each of a style of its own and as long as that takes."""
        rng = np.random.default_rng(self._drawn("styles", name))
        scripts = [
            [f"box{b}" for b in range(self.boxes) for _ in range(style)]
            for style in rng.choice(self.styles, count)
        ]
        words = [*(f"box{b}" for b in range(self.boxes)), "empty"]
        most = max(map(len, scripts))
        return await self._play(Actor(words, self.seed), count, name, most, scripts)

    async def returns(self, actor: Actor) -> np.ndarray:
        """float64[boxes, episodes], in messages, 0 to the budget, by where the target was."""
        episodes = await self._play(actor, EVALUATED * self.boxes, "evaluate", self.boxes)
        return np.array([e.reward * self.boxes for e in episodes]).reshape(-1, self.boxes).T

    async def trained(self, base: Actor, updates: int) -> list[float]:
        """Mean return after a quarter of the updates, and after all; advantages r - mean r."""
        falling = {"learning_rate": RATE, "schedule": "linear", "total_steps": updates}
        actor, found = base.fork(channels=PLAIN, **falling), []
        for update in range(updates):
            actor.learn(await self._play(actor, GROUP * self.boxes, update, self.boxes))
            if update + 1 in (updates // 4, updates):
                found.append(float((await self.returns(actor)).mean()))
        return found

    async def sigma(self, actor: Actor) -> float:
        """Heterogeneity, from continuations behind words drawn at states of its own episodes."""
        reached = await self._play(actor, STATES * self.boxes, "states", self.boxes)
        states = [(n, h) for n, e in enumerate(reached) for h in range(len(e.turns))]
        before = [[turn.text for turn in reached[n].turns[:h]] for n, h in states]
        targets = [n % self.boxes for n, _ in states]
        shut = _each(before, BRANCHES)
        tried = await self._behind(actor, shut, _each(targets, BRANCHES), "branches")
        begun = [[*b, e.turns[len(b)].text] for b, e in zip(shut, tried, strict=True)]
        many = BRANCHES * CONTINUATIONS
        scripts = _each(begun, CONTINUATIONS)
        ends = await self._behind(actor, scripts, _each(targets, many), "continuations")
        returns = np.array([e.reward * self.boxes for e in ends]).reshape(len(states), BRANCHES, -1)
        found = dict(zip(states, returns.tolist(), strict=True))
        return heterogeneity(
            [[found.get((n, h), ()) for n in range(len(reached))] for h in range(self.boxes)]
        )

    async def _behind(
        self, actor: Actor, scripts: Sequence[list[str]], targets: Sequence[int], name: str
    ) -> list[Episode]:
        """Episodes that begin so."""
        games = [Search(self.boxes, target) for target in targets]
        return await actor.play(games, self._drawn("words", name), most=self.boxes, scripts=scripts)


T = TypeVar("T")


def _each(items: Sequence[T], times: int) -> list[T]:
    return [item for item in items for _ in range(times)]
