"""Paper 52, LongRLVR: why an answer reward alone does not teach to find the evidence.

The policy names each of eight passages independently with a probability of its own, 0.3 at first;
four are needed, and the answer is right only when all four are named. All 256 choices are judged
by `ContextReward`, so that the gradient of the expected reward is exact; the policy climbs it.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence

import numpy as np

from agentrl.core import Episode, Task, derive_seed
from agentrl.papers.kit.rollouts import values
from agentrl.papers.registry import Measured
from agentrl.rewards import ContextReward

CLAIM = (
    "With the answer reward alone the gradient towards a needed passage is p^(n-1), recall stays "
    "low; the context reward teaches recall and with it the answer, and unlearns passages that are "
    "not needed, which recall alone does not."
)
NEEDED, OTHERS, START, STEPS, RATE = 4, 4, 0.3, 60, 1.0
IDS = [f"p{i}" for i in range(NEEDED + OTHERS)]
TASK = Task("q", "?", reference={"answers": ["yes"], "evidence": IDS[:NEEDED]})


def run(seeds: Sequence[int]) -> Measured:
    rows: list[list[str | int | float]] = []
    passed = True
    for seed in seeds:
        found = {}
        for name, reward in (
            ("answer only", ContextReward(answer_only=True)),
            ("context", ContextReward()),
            ("recall only", ContextReward(recall_only=True)),
        ):
            first, recall, listed, accuracy = climb(asyncio.run(_table(reward)), seed)
            found[name] = (first, recall, listed, accuracy)
            rows.append([seed, name, first, recall, listed, accuracy])
        answer, context, every = found["answer only"], found["context"], found["recall only"]
        passed &= abs(answer[0] - START ** (NEEDED - 1)) < 0.01 and context[0] > 2 * answer[0]
        passed &= answer[1] < 0.6 and context[1] > 0.9 and context[3] > answer[3] + 0.3
        passed &= every[2] > context[2] + 0.02 and every[2] > START - 0.02
    columns = ["seed", "reward", "first gradient", "recall", "others named", "answers right"]
    return Measured(passed, columns, rows)


CHOICES = np.asarray(list(itertools.product((0, 1), repeat=len(IDS))), float)


async def _table(reward: ContextReward) -> np.ndarray:
    """float[256]: the reward of every choice; the answer is right when all needed are named."""
    episodes = []
    for choice in CHOICES:
        cited = [name for name, named in zip(IDS, choice, strict=True) if named]
        right = choice[:NEEDED].all()
        outcome = {"answer": "yes" if right else "no", "cited": cited, "format": True}
        episodes.append(Episode(TASK, outcome=outcome))
    return np.asarray(await values(reward, episodes))


def climb(rewards: np.ndarray, seed: int) -> tuple[float, float, float, float]:
    """(first gradient by p of a needed passage, recall, share of others named, answers right)."""
    rng = np.random.default_rng(derive_seed(seed, "long_rlvr"))
    logits = np.log(START / (1 - START)) + rng.normal(0, 0.01, len(IDS))
    first = float(np.mean(_gradient(rewards, _p(logits))[:NEEDED]))
    for _ in range(STEPS):
        p = _p(logits)
        logits += RATE * _gradient(rewards, p) * p * (1 - p)
    p = _p(logits)
    return first, float(p[:NEEDED].mean()), float(p[NEEDED:].mean()), float(p[:NEEDED].prod())


def _p(logits: np.ndarray) -> np.ndarray:
    out: np.ndarray = 1 / (1 + np.exp(-logits))
    return out


def _gradient(rewards: np.ndarray, p: np.ndarray) -> np.ndarray:
    """d E[R] / d p_j = E[R | j named] - E[R | j not named], exactly."""
    weight = np.prod(np.where(CHOICES == 1, p, 1 - p), axis=1)
    signed = np.where(CHOICES == 1, 1 / p, -1 / (1 - p))
    out: np.ndarray = (weight * rewards) @ signed
    return out
