"""Paper 67, STARC: how different two reward functions are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from agentrl.papers.kit.toys import table
from agentrl.papers.registry import Measured
from agentrl.rewards.diagnostics.distance import reward_distance, sampled_distance

CLAIM = (
    "Scaling, shifting and potential shaping leave the distance 0, turning the reward round makes "
    "it 1; it is symmetric and keeps the triangle inequality."
)


def run(seeds: Sequence[int]) -> Measured:
    cases = []
    for seed in seeds:
        rng, gamma = np.random.default_rng(seed), 0.9
        transition = rng.dirichlet(np.ones(3), size=(3, 2))
        a, b, c = rng.normal(size=(3, 3, 2, 3))
        phi = rng.normal(size=3)
        shaped = 2 * a + gamma * phi[None, None, :] - phi[:, None, None]

        def d(x: np.ndarray, y: np.ndarray, t: np.ndarray = transition) -> float:
            return reward_distance(x, y, t, 0.9)

        cases += [
            (f"seed {seed}: scaled and shaped", 0.0, d(a, shaped)),
            (f"seed {seed}: shifted by 3", 0.0, d(a, a + 3)),
            (f"seed {seed}: turned round", 1.0, d(a, -a)),
            (f"seed {seed}: symmetric", d(a, b), d(b, a)),
            (f"seed {seed}: triangle holds", 1.0, float(d(a, c) <= d(a, b) + d(b, c) + 1e-12)),
            (f"seed {seed}: another reward", 1.0, float(0.01 < d(a, b) < 0.99)),
        ]
        rewards, groups = rng.random(40), np.repeat(np.arange(5), 8)
        moved = 3 * rewards + groups
        cases.append(
            (
                f"seed {seed}: on logged episodes",
                0.0,
                sampled_distance(rewards.tolist(), moved.tolist(), groups.tolist()),
            )
        )
    return table(cases, tolerance=1e-6)
