"""Paper 21, Sweet Spot Learning (SSL, arXiv 2601.22491): its claim in the small.

A maze whose only way has four moves and two turns. A policy that walks at random arrives once in
256 attempts, so with the binary reward the members of nearly every group fare alike and there is no
gradient. Tiers of closeness (how much of the right way was walked, in thirds of 3x3 blocks) let
them differ. One small transformer, warm-started to walk at random, is trained by GRPO from there
with either reward; the environment, the closeness and the tiers are those that run files name.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from agentrl.core import Group, Reward, Task, derive_seed
from agentrl.environments.maze import MOVES, MazeEnvironment, MazeProximity, make_tasks
from agentrl.papers.kit.toys import Fixed
from agentrl.papers.kit.world import World, on_one_thread
from agentrl.papers.registry import Measured
from agentrl.rewards.process.tiers import Tiered

CLAIM = (
    "Where success is rare, tiers of closeness beside the outcome leave far fewer groups without "
    "variance than the binary reward, and the policy learns in the same number of updates what it "
    "does not learn from the outcome alone; no failure is ever worth as much as a success."
)
LENGTH, BENDS, SIZE = 4, 2, 6
UPDATES, EPISODES, EVALUATED = 16, 32, 64
RATE = 4e-3
ALIKE, ARRIVED = 0.4, 0.5
SAID = [f"<|{move}|>" for move in MOVES]


def maze(seed: int) -> Task:
    """One maze of the asked length and turns, and a prompt without its drawing: the way is found by
    trying, which is what the rewards differ in."""
    cells = (LENGTH, BENDS)
    made = make_tasks(BENDS + 1, seed=derive_seed(seed, "ssl"), lengths=cells[:1], size=SIZE)
    task = list(made)[-1]
    return Task(task.id, "Find the way.", payload=task.payload, reference=task.reference)


def world(task: Task) -> World:
    return World(
        task,
        lambda luck: MazeEnvironment(),
        SAID,
        turns=1,
        tokens=LENGTH + 1,
        pieces=r"<\|\w+\|>|%s|\w+|.",
    )


def rewards() -> dict[str, Reward]:
    arrived = Fixed(read="arrived", name="arrived")
    return {"binary": arrived, "tiered": Tiered(arrived, MazeProximity())}


def wanderer(seed: int) -> Generator[str, str, None]:
    """Four moves in any direction."""
    rng = random.Random(seed)
    yield ""
    yield "".join(rng.choices(SAID, k=LENGTH))


@dataclass(slots=True)
class Found:
    """Share of training groups without variance; of the evaluated episodes, how many arrive; the
    highest reward of a failure and the lowest of a success."""

    alike: float
    arrived: float
    failure: float
    success: float


def run(seeds: Sequence[int]) -> Measured:
    """Train both ways on every seed; passes when the effect is there on each of them."""
    return on_one_thread(_run(seeds))


async def _run(seeds: Sequence[int]) -> Measured:
    rows: list[list[str | int | float]] = []
    passed = True
    for seed in seeds:
        there = world(maze(seed))
        policy = await there.imitate(wanderer, rewards()["binary"], seed, episodes=64, steps=30)
        found = {
            name: await _trained(there, copy.deepcopy(policy), reward, seed)
            for name, reward in rewards().items()
        }
        passed &= holds(found["binary"], found["tiered"])
        rows += [[seed, name, f.alike, f.arrived] for name, f in found.items()]
    return Measured(passed, ["seed", "reward", "groups all alike", "arrives after"], rows)


async def _trained(there: World, policy: Any, reward: Reward, seed: int) -> Found:
    alike: list[bool] = []
    worth: dict[bool, list[float]] = {True: [], False: []}

    def watch(group: Group) -> None:
        values = [e.reward for e in group.judged]
        alike.append(bool(np.ptp(values) < 1e-9))
        for episode in group.judged:
            worth[bool(episode.outcome["arrived"])].append(episode.reward)

    episodes = await there.train(
        policy,
        reward,
        there.settings(RATE, group_size=EPISODES),
        seed,
        updates=UPDATES,
        group_size=EPISODES,
        evaluated=EVALUATED,
        watch=watch,
    )
    arrived = float(np.mean([bool(e.outcome["arrived"]) for e in episodes if e.judged]))
    failure, success = max(worth[False], default=0.0), min(worth[True], default=1.0)
    return Found(float(np.mean(alike)), arrived, failure, success)


def holds(binary: Found, tiered: Found) -> bool:
    """The effect, with the shares apart by `ALIKE` and `ARRIVED`."""
    return (
        tiered.alike <= binary.alike - ALIKE
        and tiered.arrived >= binary.arrived + ARRIVED
        and tiered.failure < tiered.success
    )
