"""Paper 33, DISPO: clipped importance weights with bounds of their own for wrong answers."""

from __future__ import annotations

from collections.abc import Sequence

from agentrl.papers.kit.bandit import cosine, gradient, kappa, toy_group, toy_learner
from agentrl.papers.kit.properties import Property, measured
from agentrl.papers.registry import Measured

CLAIM = (
    "right and wrong answers clip the detached ratio in four bounds, and unlike under PPO's clip "
    "no token ever loses its gradient"
)
RIGHT = (0.5, 1.0, 2.0)
WRONG = (0.05, 1.0, 2.0, 20.0)


def run(seeds: Sequence[int]) -> Measured:
    """Coefficients through autograd, and whole gradients on every seed's policy."""
    from agentrl.learner import LearnerSettings

    dispo = LearnerSettings(algorithm="dispo").coefficient
    ppo = LearnerSettings(algorithm="grpo").coefficient
    found = [
        Property("coefficient of a right answer", (0.8, 1.0, 1.28), _row(RIGHT, 1.0, dispo)),
        Property("... of a wrong one", (-0.05, -1.0, -2.0, -10.0), _row(WRONG, -1.0, dispo)),
        Property(
            "PPO drops these tokens", (0.0, 0.0), (kappa(2.0, 1.0, ppo), kappa(0.5, -1.0, ppo))
        ),
    ]
    group = toy_group([1.0, 0.0, 0.0, 1.0])
    shut = {"kind": "is_clip", "low": 0, "high": 0, "negative_low": 0, "negative_high": 0}
    for seed in seeds:
        stale = {"algorithm": "dispo", "ratio": {"old": "behaviour", "correction": "none"}}
        closed = gradient(toy_learner(seed, **stale, coefficient=shut), [group])
        plain = gradient(toy_learner(seed, **stale, coefficient={"kind": "reinforce"}), [group])
        found += [
            Property(f"seed {seed}: all bounds 0 is REINFORCE", 1.0, cosine(closed, plain), 1e-9),
            Property(
                f"seed {seed}: ... of the same length", 1.0, float(closed.norm() / plain.norm())
            ),
        ]
    return measured(found)


def _row(ratios: Sequence[float], advantage: float, coefficient: object) -> list[float]:
    return [kappa(ratio, advantage, coefficient) for ratio in ratios]
