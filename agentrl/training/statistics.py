"""Rates with honest intervals.

Episodes of one task are correlated, so intervals of rates are over tasks: the cluster bootstrap
draws whole tasks. The Wilson interval treats every episode as independent; it is for one
episode per task, where the two agree.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from agentrl.core.interval import NOTHING, Z95, Interval, wilson

__all__ = ["Z95", "Interval", "difference", "mean_pass_at_k", "pass_at_k", "task_rate", "wilson"]

_RESAMPLES = 10_000
_CHUNK = 1 << 22


def pass_at_k(successes: int, samples: int, k: int) -> float:
    """Unbiased probability that one of `k` attempts succeeds (Chen et al. 2021, eq. 1).

    1 - C(n - c, k) / C(n, k) of `samples` n and `successes` c. Raises ValueError when k > n.
    """
    if not 1 <= k <= samples:
        raise ValueError(f"pass@{k} needs at least {k} samples, there are {samples}")
    if samples - successes < k:
        return 1.0
    return 1.0 - math.comb(samples - successes, k) / math.comb(samples, k)


def mean_pass_at_k(outcomes: Sequence[Sequence[bool | float]], k: int) -> float:
    """pass@k over tasks that have at least `k` samples; NaN when there is none.

    Args:
        outcomes: one list per task, true (or 1) for each episode that solved it.
    """
    rates = [pass_at_k(_successes(task), len(task), k) for task in outcomes if len(task) >= k]
    return sum(rates) / len(rates) if rates else math.nan


def task_rate(outcomes: Sequence[Sequence[bool | float]], *, seed: int = 0) -> Interval:
    """Mean over tasks of their success rates, with a 95% interval over tasks.

    The interval is the percentile bootstrap over whole tasks (10,000 resamples, reproducible by
    `seed`). Where all tasks fare alike that collapses to a point, as if 0 of 5 proved 0: there
    it is Wilson's with tasks as trials.
    """
    tasks = [task for task in outcomes if len(task)]
    if not tasks:
        return NOTHING
    rates = np.array([float(np.mean(task)) for task in tasks])
    if np.ptp(rates) == 0.0:
        return wilson(float(rates[0]) * len(tasks), len(tasks))
    low, high = np.quantile(_bootstrap_means(rates, seed), [0.025, 0.975])
    return Interval(float(rates.mean()), float(low), float(high))


def difference(
    before: Sequence[Sequence[bool | float]],
    after: Sequence[Sequence[bool | float]],
    *,
    paired: bool,
    seed: int = 0,
) -> Interval:
    """Rate of `after` minus rate of `before`, with a 95% interval.

    Args:
        before, after: one list per task, as for `task_rate`.
        paired: the two lists are of the same tasks in the same order; the bootstrap then draws
            pairs. Otherwise (and where every task gained the same) the interval is Newcombe's
            (1998, method 10), built from the two rates' own.
    """
    if paired:
        if len(before) != len(after):
            raise ValueError(f"{len(before)} tasks before, {len(after)} after: not the same tasks")
        pairs = [(b, a) for b, a in zip(before, after, strict=True) if len(b) and len(a)]
        if not pairs:
            return NOTHING
        gains = np.array([float(np.mean(a)) - float(np.mean(b)) for b, a in pairs])
        if np.ptp(gains) > 0:
            low, high = np.quantile(_bootstrap_means(gains, seed), [0.025, 0.975])
            return Interval(float(gains.mean()), float(low), float(high))
    first, second = task_rate(before, seed=seed), task_rate(after, seed=seed + 1)
    gain = second.rate - first.rate
    down = math.hypot(second.rate - second.low, first.high - first.rate)
    up = math.hypot(second.high - second.rate, first.rate - first.low)
    return Interval(gain, gain - down, gain + up)


def _successes(task: Sequence[bool | float]) -> int:
    return sum(bool(outcome) for outcome in task)


def _bootstrap_means(values: np.ndarray, seed: int) -> np.ndarray:
    """Means of resamples with replacement; chunked, so that memory stays bounded."""
    generator = np.random.default_rng(seed)
    n, step = len(values), max(1, _CHUNK // len(values))
    chunks = [
        values[generator.integers(0, n, (min(step, _RESAMPLES - start), n))].mean(axis=1)
        for start in range(0, _RESAMPLES, step)
    ]
    return np.concatenate(chunks)
