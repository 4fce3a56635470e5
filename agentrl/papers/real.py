"""Paper 20, REAL: rewards as labels, ranked against an anchor of zero."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from agentrl.papers.kit.bandit import gradient, toy_group, toy_learner
from agentrl.papers.kit.properties import Property, measured
from agentrl.papers.pacs import score_gradient
from agentrl.papers.registry import Measured

CLAIM = (
    "the weight of an answer is bounded by 1 / tau, and grows for right answers that are unlikely "
    "and wrong ones that are likely, where GRPO's does the opposite"
)


def run(seeds: Sequence[int]) -> Measured:
    """Gradients by score (scaled by 1 / tau), and that groups of one class are skipped."""
    from agentrl.learner import LearnerSettings

    link = LearnerSettings(algorithm="real").link
    assert link is not None
    tau = 1.0 / link.scale

    def by_score(scores: Sequence[float]) -> np.ndarray:
        scaled = [s / tau for s in scores]
        return np.array(score_gradient(scaled, [1, 1, 0, 0, 0], link)) / tau

    apart = np.abs(by_score([-3.0, 3.0, -3.0, 3.0, 0.0]))
    found = [
        Property("at s = 0", (-2 / 3, -2 / 3, 0.5, 0.5, 0.5), by_score([0.0] * 5)),
        Property("right -3 3, wrong -3 3 0", (1.995, 0, 0, 1.990, 0.0049), apart, 1e-3),
        Property("all below 1 / tau", 1.0, float((apart < 1 / tau).all())),
        Property("monotone in the score", 1.0, float(_monotone(by_score))),
    ]
    for seed in seeds:
        lone = gradient(toy_learner(seed, algorithm="real"), [toy_group([1.0, 1.0, 1.0])])
        mixed = gradient(toy_learner(seed, algorithm="real"), [toy_group([1.0, 0.0, 1.0])])
        found += [
            Property(f"seed {seed}: one class gives no gradient", 0.0, float(lone.norm()), 1e-12),
            Property(f"seed {seed}: two classes do", 1.0, float(mixed.norm() > 1e-3)),
        ]
    return measured(found)


def _monotone(by_score: object) -> bool:
    """Right answers weigh less as their score rises, wrong ones more."""
    assert callable(by_score)
    right = [abs(by_score([s, 0.0, 0.0, 0.0, 0.0])[0]) for s in (-2.0, -1.0, 0.0, 1.0)]
    wrong = [abs(by_score([0.0, 0.0, s, 0.0, 0.0])[2]) for s in (-2.0, -1.0, 0.0, 1.0)]
    return right == sorted(right, reverse=True) and wrong == sorted(wrong)
