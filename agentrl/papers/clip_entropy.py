"""Paper 43: what clipping does under rewards that mean nothing, and what they cost who knows."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from agentrl.core import Group
from agentrl.papers.kit.bandit import drawn_by, gradient, kappa, toy_group, toy_learner
from agentrl.papers.kit.properties import Property, measured
from agentrl.papers.registry import Measured

CLAIM = (
    "under coin-flip rewards the expected gradient is exactly zero without a clip and not zero "
    "with one: a gain there is the pipeline's, not the reward's"
)
MEMBERS = 4
SPREAD = 0.6
"""How far log-probabilities are stale, so that clips act on both sides."""
STALE = {"ratio": {"old": "behaviour", "correction": "none"}}


def run(seeds: Sequence[int]) -> Measured:
    """The clip's sides, damage over all coin flips, the placebo, and gradients averaged over every
    assignment of random rewards on every seed's policy."""
    from agentrl.learner import LearnerSettings
    from agentrl.training.diagnostics import clip_bias, spurious_damage

    ppo = LearnerSettings(algorithm="grpo").coefficient
    sides = [kappa(r, a, ppo) for r, a in ((1.5, 1.0), (0.5, 1.0), (0.5, -1.0), (1.5, -1.0))]
    found = [
        Property("PPO keeps high or low ratios, A > 0 then < 0", (0, 0.5, 0, -1.5), sides),
        Property("damage to 2 right of 6, mean and variance", _damage(2, 6), spurious_damage(2, 6)),
        Property("the placebo is fair", 0.5, _placebo_mean(), 0.05),
    ]
    for seed in seeds:
        group = drawn_by(toy_learner(seed), toy_group([1.0, 0.0, 0.0, 1.0]), SPREAD, seed)
        free, clipped = (
            _mean_gradient(seed, group, kind)
            for kind in ({"kind": "identity"}, {"kind": "ppo_clip"})
        )
        one = {**STALE, "channels": _plain()}
        whole = gradient(toy_learner(seed, **one, coefficient={"kind": "identity"}), [group])
        cut = gradient(toy_learner(seed, **one), [group])
        bias = clip_bias(cut.numpy(), whole.numpy())
        found += [
            Property(
                f"seed {seed}: expected gradient without a clip", 0.0, float(free.norm()), 1e-9
            ),
            Property(f"seed {seed}: with one", 1, float(clipped.norm() > 1e-3)),
            Property(f"seed {seed}: clip bias {bias:.2f} of a gradient", 1, float(0 < bias < 1)),
        ]
    return measured(found)


def _damage(right: int, size: int) -> tuple[float, float]:
    """Over all coin flips: the centred advantage that right answers lose."""
    truth = np.arange(size) < right
    lost = []
    for bits in itertools.product((0.0, 1.0), repeat=size):
        coins = np.array(bits)
        lost.append((truth - truth.mean())[truth].sum() - (coins - coins.mean())[truth].sum())
    return float(np.mean(lost)), float(np.var(lost))


def _placebo_mean() -> float:
    from agentrl.learner import credit
    from agentrl.learner.settings import Transform

    episodes = [e for k in range(100) for e in toy_group([1.0] * 8, key=str(k)).episodes]
    coins = credit.returns(episodes, np.zeros(len(episodes), int), (Transform(kind="coin"),))
    return float(coins.mean())


def _plain() -> dict[str, Any]:
    return {"outcome": {"scale": "none"}}


def _mean_gradient(seed: int, group: Group, coefficient: dict[str, Any]) -> Any:
    total: Any = 0.0
    for bits in itertools.product((0.0, 1.0), repeat=MEMBERS):
        for episode, coin in zip(group.episodes, bits, strict=True):
            episode.scores["reward"].value = coin
        learner = toy_learner(seed, **STALE, channels=_plain(), coefficient=coefficient)
        total = total + gradient(learner, [group])
    for episode, reward in zip(group.episodes, (1.0, 0.0, 0.0, 1.0), strict=True):
        episode.scores["reward"].value = reward
    return total / 2**MEMBERS
