"""Rates and intervals against closed forms."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentrl.training.statistics import (
    Z95,
    difference,
    mean_pass_at_k,
    pass_at_k,
    task_rate,
    wilson,
)


@pytest.mark.parametrize("n", range(1, 8))
def test_pass_at_k_is_the_mean_over_all_choices_of_k_samples(n: int) -> None:
    for c, k in itertools.product(range(n + 1), range(1, n + 1)):
        attempts = [True] * c + [False] * (n - c)
        choices = [any(pick) for pick in itertools.combinations(attempts, k)]
        assert pass_at_k(c, n, k) == pytest.approx(sum(choices) / len(choices))


def test_pass_at_k_refuses_more_than_was_sampled() -> None:
    with pytest.raises(ValueError, match="pass@3 needs at least 3 samples, there are 2"):
        pass_at_k(1, 2, 3)
    assert mean_pass_at_k([[1, 0], [0, 0], [1]], 2) == 0.5
    assert math.isnan(mean_pass_at_k([[1]], 2))


def test_wilson_matches_published_values() -> None:
    # Newcombe 1998, Statistics in Medicine 17:857, table I, method 3.
    for successes, trials, low, high in [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ]:
        interval = wilson(successes, trials)
        assert (interval.low, interval.high) == pytest.approx((low, high), abs=6e-5)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_bounds_solve_the_score_equation(pair: tuple[int, int]) -> None:
    successes, trials = pair
    interval = wilson(successes, trials)
    assert 0 <= interval.low <= interval.rate <= interval.high <= 1
    for bound in (interval.low, interval.high):
        left = (interval.rate - bound) ** 2
        assert left == pytest.approx(Z95**2 * bound * (1 - bound) / trials, abs=1e-9)
    mirrored = wilson(trials - successes, trials)
    assert mirrored.low == pytest.approx(1 - interval.high)


def test_the_interval_of_single_samples_is_the_binomial_one() -> None:
    n, solved = 64, 16
    interval = task_rate([[i < solved] for i in range(n)])
    p = solved / n
    cumulative = np.cumsum([math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(n + 1)])
    low, high = (np.searchsorted(cumulative, q) / n for q in (0.025, 0.975))
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=1 / n)
    assert interval.rate == p


def test_samples_of_one_task_do_not_count_as_independent() -> None:
    once = task_rate([[i % 2] for i in range(32)])
    often = task_rate([[i % 2] * 100 for i in range(32)])
    assert (often.low, often.high) == (once.low, once.high)
    pooled = wilson(1600, 3200)
    assert often.high - often.low > 5 * (pooled.high - pooled.low)


def test_the_interval_covers_the_truth_when_tasks_differ() -> None:
    generator = np.random.default_rng(1)
    covered = 0
    for trial in range(300):
        skills = generator.beta(0.5, 0.5, size=40)
        outcomes = [list(generator.random(4) < skill) for skill in skills]
        interval = task_rate(outcomes, seed=trial)
        covered += interval.low <= 0.5 <= interval.high
    assert 0.90 <= covered / 300 <= 0.985


@pytest.mark.parametrize("value", [0, 1])
def test_all_alike_is_not_certainty(value: int) -> None:
    interval = task_rate([[value] * 4] * 10)
    assert interval.rate == value
    assert interval.high - interval.low == pytest.approx(Z95**2 / (10 + Z95**2))


def test_difference_of_two_rates_matches_newcombe() -> None:
    # Newcombe 1998, Statistics in Medicine 17:873, table II, row (a), method 10: 56/70 - 48/80.
    # The bootstrap's ends stand in for Wilson's, hence the wide tolerance.
    gain = difference([[i < 48] for i in range(80)], [[i < 56] for i in range(70)], paired=False)
    assert gain.rate == pytest.approx(0.2)
    assert (gain.low, gain.high) == pytest.approx((0.0524, 0.3339), abs=0.02)


def test_pairing_takes_out_what_tasks_share() -> None:
    before = [[float(i % 4 == 0)] for i in range(40)]
    after = [[float(i % 4 in (0, 1))] for i in range(40)]
    paired = difference(before, after, paired=True)
    unpaired = difference(before, after, paired=False)
    assert paired.rate == unpaired.rate == 0.25
    assert paired.high - paired.low < unpaired.high - unpaired.low
    assert paired.low > 0
    same = difference(before, before, paired=True)
    assert same.low < 0 < same.high
    with pytest.raises(ValueError, match="not the same tasks"):
        difference(before, after[1:], paired=True)


def test_nothing_measured_is_nan_and_not_zero() -> None:
    for interval in (task_rate([]), task_rate([[]]), wilson(0, 0)):
        assert all(map(math.isnan, (interval.rate, interval.low, interval.high)))


@given(st.lists(st.lists(st.booleans(), min_size=1, max_size=4), min_size=1, max_size=6))
def test_intervals_hold_their_rate_and_are_reproducible(outcomes: list[list[bool]]) -> None:
    interval = task_rate(outcomes)
    assert 0 <= interval.low <= interval.rate + 1e-12
    assert interval.rate <= interval.high + 1e-12 <= 1 + 2e-12
    assert task_rate(outcomes) == interval


def test_intervals_say_whether_they_overlap() -> None:
    assert wilson(10, 100).overlaps(wilson(15, 100))
    assert not wilson(10, 100).overlaps(wilson(50, 100))
    assert str(wilson(50, 100)) == "50.0% [40.4%, 59.6%]"
