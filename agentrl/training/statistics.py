"""Rates with honest intervals.

Episodes of one task are correlated, so intervals of rates are over tasks: the cluster bootstrap
draws whole tasks. The Wilson interval treats every episode as independent; it is for one
episode per task, where the two agree.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Z95 = 1.959963984540054
_RESAMPLES = 10_000
_CHUNK = 1 << 22


@dataclass(slots=True, frozen=True)
class Interval:
    """A rate and its 95% confidence interval; NaN when there was nothing to measure."""

    rate: float
    low: float
    high: float

    def overlaps(self, other: Interval) -> bool:
        return self.low <= other.high and other.low <= self.high

    def __str__(self) -> str:
        return f"{self.rate:.1%} [{self.low:.1%}, {self.high:.1%}]"


NOTHING = Interval(math.nan, math.nan, math.nan)


def wilson(successes: float, trials: int, z: float = Z95) -> Interval:
    """Wilson's score interval of a binomial rate (Wilson 1927); sound at 0 and at 1 too."""
    if trials == 0:
        return NOTHING
    if not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes of {trials} trials")
    p, z2 = successes / trials, z * z
    centre = (p + z2 / (2 * trials)) / (1 + z2 / trials)
    half = z * math.sqrt(p * (1 - p) / trials + z2 / (4 * trials**2)) / (1 + z2 / trials)
    # The formula reaches 0 and 1 exactly there, rounding may miss them.
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == trials else min(1.0, centre + half)
    return Interval(p, low, high)


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
