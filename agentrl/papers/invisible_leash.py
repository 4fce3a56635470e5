"""Paper 49, the Invisible Leash: what training did to the support of a policy."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from agentrl.papers.kit.bandit import answer_chances, bandit_group, entropy, toy_learner
from agentrl.papers.kit.properties import Property, measured
from agentrl.papers.registry import Measured

CLAIM = (
    "support metrics tell what a trained policy kept, gained and lost at k samples; training on "
    "its own samples narrows the answers although pass@1 rises"
)
STEPS, SAMPLES, RATE = 40, 16, 3e-3


def run(seeds: Sequence[int]) -> Measured:
    """The metrics by hand, and answer entropy before and after training on every seed's policy."""
    from agentrl.training import diagnostics as d

    s = d.Support(kept=8, gained=1, lost=3)
    same = d.Support.of([1, 0, 2], [3, 0, 1])
    found = [
        Property(
            "retention, discovery, their mean, net change",
            (0.7273, 0.1111, 0.1928, -0.1667),
            (s.retention, s.discovery, s.dynamic, s.net_change),
        ),
        Property(
            "... of equal models",
            (1.0, 0.0, 0.0),
            (same.retention, same.discovery, same.net_change),
        ),
        Property("entropy of four equal answers", math.log(4), d.answer_entropy("abcd")),
        Property("pass@k of 2 of 5 at k = 1 2 4", (0.4, 0.7, 1.0), _pass_at(5, 2, (1, 2, 4))),
    ]
    for seed in seeds:
        before, after = answers_around_training(seed)
        entropies = [entropy(p) for p in (before, after)]
        found += [
            Property(f"seed {seed}: pass@1 rises", 1, float(_right(after) > _right(before))),
            Property(
                f"seed {seed}: answer entropy {entropies[0]:.2f} -> {entropies[1]:.2f} falls",
                1,
                float(entropies[1] < entropies[0] - 0.5),
            ),
        ]
    return measured(found)


def _pass_at(n: int, correct: int, ks: Sequence[int]) -> list[float]:
    from agentrl.training.diagnostics import pass_at_k

    return [pass_at_k(n, correct, k) for k in ks]


def answers_around_training(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Chances of every answer before and after GRPO on its own samples; four are right."""
    learner = toy_learner(seed, algorithm="grpo", learning_rate=RATE)
    before = answer_chances(learner)
    rng = np.random.default_rng(seed)
    for _ in range(STEPS):
        learner.step([bandit_group(learner, rng, SAMPLES)])
    return before, answer_chances(learner)


def _right(chances: np.ndarray) -> float:
    return float(chances[::8].sum())
