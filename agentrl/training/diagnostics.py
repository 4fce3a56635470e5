"""Numbers that say what training did to a policy; pure functions of counts and rewards.

None of them enters a loss. Sources: Invisible Leash (support metrics), Chen et al. 2021 (pass@k),
Policy Cliff (ties and flips), noisy verifiers (appeals), and the note on clipping and spurious
rewards.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import comb, log

import numpy as np


def pass_at_k(n: int, correct: int, k: int) -> float:
    """Unbiased probability that one of k draws is correct: 1 - C(n - c, k) / C(n, k)."""
    if not 0 < k <= n:
        raise ValueError(f"pass@{k} needs at least {k} samples, there are {n}")
    return 1.0 - comb(n - correct, k) / comb(n, k)


def gate_openness(p: float, group_size: int) -> float:
    """Probability that a group of 0/1 rewards with success rate p has variance."""
    return 1.0 - (1.0 - p) ** group_size - p**group_size


@dataclass(slots=True, frozen=True)
class Support:
    """What became of the tasks that base or trained policy can solve (Invisible Leash).

    kept: both solve it; gained: only the trained one; lost: only the base.
    """

    kept: int
    gained: int
    lost: int

    @classmethod
    def within(
        cls, before: Sequence[Sequence[bool]], after: Sequence[Sequence[bool]], k: int
    ) -> Support:
        """From the first k samples of each task; what is likelier than about 1 / k is support."""
        return cls.of([sum(b[:k]) for b in before], [sum(a[:k]) for a in after])

    @classmethod
    def of(cls, before: Sequence[int], after: Sequence[int]) -> Support:
        """From successes per task, in the same order; one success is support."""
        pairs = [(b > 0, a > 0) for b, a in zip(before, after, strict=True)]
        return cls(
            pairs.count((True, True)), pairs.count((False, True)), pairs.count((True, False))
        )

    @property
    def retention(self) -> float:
        """SRR = kept / (kept + lost)."""
        return _share(self.kept, self.kept + self.lost)

    @property
    def discovery(self) -> float:
        """NDR = gained / (kept + gained)."""
        return _share(self.gained, self.kept + self.gained)

    @property
    def dynamic(self) -> float:
        """SDS, the harmonic mean of retention and discovery."""
        return _share(2 * self.retention * self.discovery, self.retention + self.discovery)

    @property
    def net_change(self) -> float:
        """NSCR = (gained - lost) / (kept + gained + lost)."""
        return _share(self.gained - self.lost, self.kept + self.gained + self.lost)


def answer_entropy(answers: Sequence[Hashable]) -> float:
    """Entropy (nats) of the distribution over distinct final answers."""
    counts = Counter(answers)
    return -sum(c / len(answers) * log(c / len(answers)) for c in counts.values())


def bootstrap_interval(
    values: Sequence[float],
    statistic: Callable[[np.ndarray], float] = lambda x: float(x.mean()),
    *,
    draws: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """95% percentile interval of a statistic over tasks, drawn again with replacement."""
    rng = np.random.default_rng(seed)
    data = np.asarray(values, np.float64)
    found = [statistic(data[rng.integers(0, len(data), len(data))]) for _ in range(draws)]
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)


def clip_bias(clipped: np.ndarray, free: np.ndarray) -> float:
    """||g_clip - g|| / ||g||: how much of the gradient is what the clip did."""
    size = float(np.linalg.norm(free))
    return float(np.linalg.norm(clipped - free)) / size if size > 0 else 0.0


def spurious_damage(correct: int, group_size: int) -> tuple[float, float]:
    """Mean and variance of the advantage that correct rollouts lose under coin-flip rewards."""
    spread = correct * (group_size - correct) / group_size
    return spread, spread / 4


def tie_score(rewards_by_class: Sequence[Sequence[Sequence[float]]], delta: float) -> float:
    """Share of tasks with two trajectory classes whose mean rewards differ by less than delta.

    Args:
        rewards_by_class: for each task, for each class of trajectories, its rewards.
    """
    tied = 0
    for classes in rewards_by_class:
        means = sorted((float(np.mean(c)) for c in classes if len(c)), reverse=True)
        tied += any(a - b < delta for a, b in pairwise(means))
    return _share(tied, len(rewards_by_class))


def flip_rate(terms: np.ndarray, weights: np.ndarray, change: float) -> float:
    """How often the best trajectory of a task changes when one reward weight moves by +-change.

    Args:
        terms: float[tasks, trajectories, reward terms]; weights: float[reward terms].
    """
    best = (terms @ weights).argmax(1)
    flips = []
    for i in range(len(weights)):
        for sign in (1.0, -1.0):
            moved = weights.astype(np.float64)
            moved[i] += sign * change
            flips.append(((terms @ moved).argmax(1) != best).mean())
    return float(np.mean(flips))


def policy_shift_bound(reward_change: np.ndarray, beta: float) -> float:
    """||pi - pi'||_1 of softmax(Q / beta) is at most max |dQ| / beta."""
    return float(np.abs(reward_change).max()) / beta


def gate_false_negatives(rates: Sequence[float]) -> float:
    """False negatives of a reward that is the product of checks: 1 - prod(1 - rate)."""
    return 1.0 - float(np.prod([1.0 - r for r in rates]))


class AppealRate:
    """Running estimate of a verifier's false negatives from appeals of a share of its negatives."""

    def __init__(self, share: float, *, rate: float = 0.1) -> None:
        self.share, self.rate = share, rate
        self.value: float | None = None

    def update(self, positives: int, flipped: int) -> float:
        """One step: `flipped` appealed negatives turned out right, beside `positives`."""
        found = flipped / self.share
        now = _share(found, positives + found)
        self.value = now if self.value is None else (1 - self.rate) * self.value + self.rate * now
        return self.value


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
