"""STARC: how different two reward functions are (paper 67)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def value_of(
    reward: np.ndarray, transition: np.ndarray, policy: np.ndarray, gamma: float
) -> np.ndarray:
    """float64[S], V^pi of a reward under a fixed policy, exactly.

    Args:
        reward: float64[S, A, S]; transition: float64[S, A, S], rows sum to 1; policy: float64[S,
        A].
    """
    expected = (transition * reward).sum(-1)
    chain = np.einsum("sa,sat->st", policy, transition)
    return np.linalg.solve(np.eye(len(policy)) - gamma * chain, (policy * expected).sum(-1))


def canonical(
    reward: np.ndarray, transition: np.ndarray, gamma: float, policy: np.ndarray | None = None
) -> np.ndarray:
    """float64[S, A], value-adjusted levelling: E[R + gamma V(s')] - V(s), the advantage under
    `policy` (uniform when None). Potential shaping and constants leave it alone."""
    states, actions = transition.shape[:2]
    pi = np.full((states, actions), 1.0 / actions) if policy is None else policy
    value = value_of(reward, transition, pi, gamma)
    return (transition * (reward + gamma * value)).sum(-1) - value[:, None]


def reward_distance(
    first: np.ndarray,
    second: np.ndarray,
    transition: np.ndarray,
    gamma: float = 0.9,
    policy: np.ndarray | None = None,
) -> float:
    """In [0, 1]: 0 when both order policies alike, 1 when they order them the other way round."""
    pair = [_unit(canonical(r, transition, gamma, policy)) for r in (first, second)]
    return float(np.linalg.norm(pair[0] - pair[1]) / 2.0)


def sampled_distance(
    first: Sequence[float],
    second: Sequence[float],
    groups: Sequence[int] | None = None,
) -> float:
    """The same of two rewards on the same logged episodes, their value baselines being means.

    Args:
        groups: which episodes share a task; the baseline is each group's mean.
    """
    keys = (
        np.zeros(len(first), np.int64)
        if groups is None
        else np.unique(groups, return_inverse=True)[1]
    )
    pair = []
    for rewards in (first, second):
        r = np.asarray(rewards, np.float64)
        mean = np.bincount(keys, r) / np.maximum(np.bincount(keys), 1)
        pair.append(_unit(r - mean[keys]))
    return float(np.linalg.norm(pair[0] - pair[1]) / 2.0)


def _unit(x: np.ndarray) -> np.ndarray:
    """x / ||x||; zero stays zero."""
    norm = np.linalg.norm(x)
    return x / norm if norm > 1e-12 else np.zeros_like(x)
