"""What verification is worth to a policy, before anything is trained.

Setlur et al. 2025 (paper 65): training with 0/1 rewards beats cloning right traces where the policy
solves a task in many ways of unequal worth (heterogeneity), and where much better ones than the
mean are not rare (anti-concentration). Pure functions of returns.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from math import comb, sqrt

import numpy as np

Branches = Sequence[Sequence[float]]
"""Returns of continuations from one state, for each of the actions that were drawn there."""


def best_of_n(values: Sequence[float], scores: Sequence[float], n: int) -> float:
    """Expected value of the one that a verifier scores highest among n of these draws.

    Unbiased (over all subsets of size n); draws of one score are chosen among at random. With
    values 0 or 1 and an exact verifier it is pass@n.

    Raises:
        ValueError: n is not in 1..len(values), or there are not as many scores.
    """
    if not 1 <= n <= len(values):
        raise ValueError(f"best of {n} needs at least {n} draws, there are {len(values)}")
    if len(values) != len(scores):
        raise ValueError(f"{len(values)} values, {len(scores)} scores")
    ranked = sorted(zip(scores, values, strict=True), key=lambda pair: pair[0])
    total, below = 0.0, 0
    for _, pairs in groupby(ranked, key=lambda pair: pair[0]):
        tied = [value for _, value in pairs]
        upto = below + len(tied)
        total += (comb(upto, n) - comb(below, n)) / comb(len(values), n) * float(np.mean(tied))
        below = upto
    return total


def action_variance(q: Sequence[float], chances: Sequence[float]) -> float:
    """Var_a Q(s, a) of one state, from the actions' values and probabilities."""
    p, value = np.asarray(chances, np.float64), np.asarray(q, np.float64)
    mean = float(p @ value)
    return float(p @ (value - mean) ** 2)


def branch_variance(branches: Branches) -> float:
    """An unbiased estimate of Var_a Q(s, a) from continuations behind actions that the policy drew.

    The variance of the branches' means, less what of it is the luck of so few continuations; so it
    may be below 0.

    Raises:
        ValueError: fewer than two branches, or than two continuations of one.
    """
    if len(branches) < 2 or min(map(len, branches)) < 2:
        raise ValueError("two branches at least, and two continuations of each")
    luck = np.mean([np.var(b, ddof=1) / len(b) for b in branches])
    return float(np.var([np.mean(b) for b in branches], ddof=1) - luck)


def heterogeneity(states: Sequence[Sequence[Branches]]) -> float:
    """sigma^2 = sum_h E_s[Var_a Q(s_h, a)], s_h as the policy comes by them.

    Where only the policy's own draws are random this is the variance of its returns; luck of the
    environment is no part of it.

    Args:
        states: for each step h, the branches of some states there; episodes that are over by then
            count as states without variance: [].
    """
    return sum(
        float(np.mean([branch_variance(branches) if branches else 0.0 for branches in step]))
        for step in states
        if step
    )


def anti_concentration(returns: Sequence[float], sigma: float, epsilon: float) -> float:
    """P(r >= E r + sigma sqrt(epsilon)): how often the policy is that much better than itself."""
    r = np.asarray(returns, np.float64)
    return float((r >= r.mean() + sigma * sqrt(epsilon)).mean())
