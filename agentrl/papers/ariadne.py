"""Paper 1, Ariadne: rewards for the right beginning of a way teach where exact ones are silent.

The policy is one softmax a step: a table of logits [maze, step, move], uniform at first, so that a
way of five moves is guessed once in a thousand tries. It is trained by GRPO on groups of eight with
`PrefixProgress` and with its exact-only variant; mazes, verdicts and rewards are the environment's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np

from agentrl.core import Task, derive_seed
from agentrl.environments.maze import (
    MOVES,
    MazeEnvironment,
    PrefixProgress,
    boundary_map,
    make_tasks,
)
from agentrl.papers.kit.rollouts import converse, normalised, softmax
from agentrl.papers.registry import Measured

CLAIM = (
    "On ways of five moves, groups under an exact-match reward carry no signal and nothing is "
    "learned; with the prefix reward the same policy learns to arrive."
)
LENGTH, MAZES, GROUP, UPDATES, RATE = 5, 4, 8, 150, 0.5
NAMES = sorted(MOVES)


def run(seeds: Sequence[int]) -> Measured:
    """Passes when, on every seed, exact-only stays below 10% and prefixes lead above 80%."""
    rows: list[list[str | int | float]] = []
    passed = True
    for seed in seeds:
        tasks = list(make_tasks(MAZES, seed=seed, lengths=[LENGTH], max_bends=2))
        for name, reward in (
            ("exact only", PrefixProgress(exact_only=True)),
            ("prefix", PrefixProgress()),
        ):
            silent, arrived = asyncio.run(train(tasks, reward, seed))
            passed &= arrived < 0.1 if reward.exact_only else arrived > 0.8
            rows.append([seed, name, silent, arrived])
    return Measured(passed, ["seed", "reward", "groups without signal", "arrives after"], rows)


async def train(tasks: Sequence[Task], reward: PrefixProgress, seed: int) -> tuple[float, float]:
    """(share of the first ten updates' groups without variance, share that arrives at last)."""
    rng = np.random.default_rng(derive_seed(seed, "ariadne"))
    logits = np.zeros((len(tasks), LENGTH, len(NAMES)))
    silent: list[bool] = []
    for update in range(UPDATES):
        for m, task in enumerate(tasks):
            p = softmax(logits[m])
            ways = _sample(rng, p, GROUP)
            found = [reward.way(task.reference["path"], [NAMES[i] for i in way]) for way in ways]
            advantages = normalised(np.asarray(found))
            if update < 10:
                silent.append(not advantages.any())
            chosen = np.eye(len(NAMES))[ways]  # [group, step, move]
            logits[m] += RATE * np.einsum("g,gsm->sm", advantages, chosen - p) / GROUP
    return float(np.mean(silent)), await _arrives(tasks, logits, rng)


async def _arrives(tasks: Sequence[Task], logits: np.ndarray, rng: np.random.Generator) -> float:
    """Sampled ways, written as answers and judged by the environment."""
    episodes = []
    for m, task in enumerate(tasks):
        for way in _sample(rng, softmax(logits[m]), 25):
            answer = "".join(f"<|{NAMES[i]}|>" for i in way)
            episodes.append(await converse(MazeEnvironment(), task, [answer]))
    counts = boundary_map(episodes).values()
    return sum(arrived for arrived, _ in counts) / sum(count for _, count in counts)


def _sample(rng: np.random.Generator, p: np.ndarray, count: int) -> np.ndarray:
    """int[count, steps] moves, each step drawn from its row of p[steps, moves]."""
    drawn = rng.random((count, len(p), 1))
    return np.asarray((drawn > p.cumsum(-1)).sum(-1)).clip(max=p.shape[-1] - 1)
