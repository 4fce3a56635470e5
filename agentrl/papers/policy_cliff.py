"""Paper 59, the Policy Cliff: tied rewards make the best policy jump, entropy makes it glide."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from agentrl.papers.kit.bandit import gradient, toy_group, toy_learner
from agentrl.papers.kit.properties import Property, measured
from agentrl.papers.registry import Measured

CLAIM = (
    "where good trajectories tie, an epsilon of reward decides the best policy; with an entropy "
    "term of weight beta the policy moves by at most epsilon / beta"
)
EPSILON = 0.01


def run(seeds: Sequence[int]) -> Measured:
    """Flips and ties by hand, the bound on random values of every seed, and the lever: what the
    learner's entropy term does to a policy whose group is tied."""
    from agentrl.training import diagnostics as d

    tied = np.array([[[1.0, 0.0], [1.0, 1.0]]])
    weights = np.array([1.0, 0.0])
    flips = d.flip_rate(tied, weights, EPSILON)
    found = [
        Property("of four moves of the weights, one flips the best", 0.25, flips),
        Property("a constant on all rewards", flips, d.flip_rate(tied + 3.0, weights, EPSILON)),
        Property("ties", 0.5, d.tie_score([[[1.0], [0.999]], [[1.0], [0.0]]], EPSILON)),
        Property("move of a tied pair at beta = 1", _shift([0.0, 0.0], [0.0, EPSILON], 1.0), 0.005),
        Property("... as beta -> 0: the cliff", 2.0, _shift([0.0, EPSILON], [EPSILON, 0.0], 1e-4)),
    ]
    for seed in seeds:
        rng = np.random.default_rng(seed)
        q, change = rng.normal(size=8), rng.uniform(-EPSILON, EPSILON, 8)
        for beta in (0.1, 1.0):
            shift, bound = _shift(q, q + change, beta), d.policy_shift_bound(change, beta)
            what = f"seed {seed}: at beta {beta} {shift:.4f} <= {bound:.4f}"
            found.append(Property(what, 1, float(0 < shift <= bound)))
        entropy = {"entropy": {"target": "uniform", "coefficient": 0.1}}
        plain, held = (
            float(gradient(toy_learner(seed, divergences=x), [toy_group([1.0, 1.0])]).norm())
            for x in ({}, entropy)
        )
        what = f"seed {seed}: a tied group moves the policy only by its entropy"
        found.append(Property(what, 1, float(plain == 0.0 < held)))
    return measured(found)


def _shift(
    q: Sequence[float] | np.ndarray, other: Sequence[float] | np.ndarray, beta: float
) -> float:
    """||softmax(q / beta) - softmax(other / beta)||_1."""
    a, b = (_softmax(np.asarray(x, np.float64) / beta) for x in (q, other))
    return float(np.abs(a - b).sum())


def _softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max())
    return np.asarray(e / e.sum())
