"""A rate with its confidence interval."""

from __future__ import annotations

import math
from dataclasses import dataclass

Z95 = 1.959963984540054


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
