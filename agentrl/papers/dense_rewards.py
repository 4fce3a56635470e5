"""Paper 63: dense rewards that cannot be farmed."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from agentrl.papers.kit.toys import listed, table
from agentrl.papers.registry import Measured
from agentrl.rewards.process.shaping import count_bonus, potential_shaping, preference_loss
from agentrl.rewards.transforms.scale import decay

CLAIM = (
    "Shaping by a potential sums to -Phi(s_0) and changes no optimal policy, where raw progress "
    "pays for walking back and forth; the fourth visit of a state pays half of the first."
)


def _best_actions(reward: np.ndarray, transition: np.ndarray, gamma: float) -> list[int]:
    """Greedy actions of value iteration; reward: [S, A, S]."""
    value = np.zeros(len(reward))
    for _ in range(2000):
        value = (transition * (reward + gamma * value)).sum(-1).max(1)
    return (transition * (reward + gamma * value)).sum(-1).argmax(1).tolist()


def _walk(potentials: Sequence[float]) -> float:
    return sum(potential_shaping(potentials))


def run(seeds: Sequence[int]) -> Measured:
    straight, pacing = [1.0, 2.0, 3.0], [1.0, 2.0, 1.0, 2.0, 1.0, 2.0, 3.0]
    progress = [sum(max(b - a, 0) for a, b in itertools.pairwise(w)) for w in (straight, pacing)]
    cases = [
        ("shaping of a straight walk", -1.0, _walk(straight)),
        ("of pacing to and fro", -1.0, _walk(pacing)),
        ("raw progress pays pacing more", 1.0, float(progress[1] > progress[0])),
        ("fourth visit at beta .1", 0.05, count_bonus(["s"], 0.1, Counter({"s": 3}))[0]),
        ("loss of equal trajectories", math.log(2), preference_loss([1], [1])),
    ]
    cases += listed("decay", [1.0, 0.5, 0.0], [decay(s, 10, "cosine") for s in (0, 5, 12)])
    for seed in seeds:
        rng = np.random.default_rng(seed)
        phi, gamma = rng.normal(size=6), 0.9
        shaped = potential_shaping(phi.tolist(), gamma)
        total = sum(gamma**t * f for t, f in enumerate(shaped))
        cases.append((f"seed {seed}: discounted sum", -phi[0], total))
        reward, transition = rng.normal(size=(5, 3, 5)), rng.dirichlet(np.ones(5), size=(5, 3))
        potential = rng.normal(size=5)
        bonus = gamma * potential[None, None, :] - potential[:, None, None]
        plain = _best_actions(reward, transition, gamma)
        cases += listed(
            f"seed {seed}: best actions", plain, _best_actions(reward + bonus, transition, gamma)
        )
    return table(cases)
