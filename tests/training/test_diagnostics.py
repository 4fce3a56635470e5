"""Diagnostics: the numbers that the papers give."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from agentrl.training import diagnostics as d


def test_pass_at_k_is_the_share_of_subsets_with_a_success() -> None:
    wins = [1, 0, 0, 1, 0]
    for k in (1, 2, 3, 4, 5):
        subsets = list(itertools.combinations(wins, k))
        assert d.pass_at_k(5, 2, k) == pytest.approx(sum(map(any, subsets)) / len(subsets))
    with pytest.raises(ValueError, match="pass@6"):
        d.pass_at_k(5, 2, 6)


def test_gate_openness() -> None:
    assert d.gate_openness(0.01, 8) == pytest.approx(0.0773, abs=1e-4)
    assert d.gate_openness(0.5, 8) == pytest.approx(0.9922, abs=1e-4)


def test_support_metrics_by_hand() -> None:
    s = d.Support(kept=8, gained=1, lost=3)
    got = (s.retention, s.discovery, s.dynamic, s.net_change)
    assert got == pytest.approx((0.7273, 0.1111, 0.1928, -0.1667), abs=1e-4)
    same = d.Support.of([1, 0, 3], [2, 0, 1])
    assert (same.retention, same.discovery, same.net_change) == (1.0, 0.0, 0.0)
    assert d.Support(0, 0, 0).dynamic == 0.0


def test_answer_entropy_of_four_equal_answers() -> None:
    assert d.answer_entropy("abcd") == pytest.approx(math.log(4))
    assert d.answer_entropy("aaaa") == 0.0


def test_spurious_reward_damage_over_all_random_rewards() -> None:
    """Exhaustive over 2^6 rewards with two correct rollouts: mean 4/3, variance 1/3."""
    damage = []
    truth = np.array([1, 1, 0, 0, 0, 0.0])
    for bits in itertools.product([0.0, 1.0], repeat=6):
        random = np.array(bits)
        lost = (truth - truth.mean())[:2].sum() - (random - random.mean())[:2].sum()
        damage.append(lost)
    assert d.spurious_damage(2, 6) == pytest.approx((np.mean(damage), np.var(damage)))
    assert np.mean(damage) == pytest.approx(1.3333, abs=1e-4)


def test_clip_bias() -> None:
    free = np.array([3.0, 4.0])
    assert d.clip_bias(np.array([3.0, 0.0]), free) == pytest.approx(0.8)
    assert d.clip_bias(free, free) == 0.0


def test_policy_cliff_argmax_flips_and_softmax_does_not() -> None:
    terms = np.array([[[1.0, 0.5], [1.0, 0.4]], [[1.0, 0.0], [0.0, 0.0]]])
    weights = np.array([1.0, 0.01])
    assert d.flip_rate(terms, weights, 0.02) == pytest.approx(0.5 / 4)
    assert d.flip_rate(terms + 5.0, weights, 0.02) == pytest.approx(0.5 / 4)
    assert d.tie_score([[[1.0], [0.999]], [[1.0], [0.0]]], 0.01) == 0.5
    for beta in (0.1, 1.0):
        q, change = np.array([1.0, 1.0]), np.array([0.0, 0.05])
        p = [np.exp(x / beta) / np.exp(x / beta).sum() for x in (q, q + change)]
        assert np.abs(p[0] - p[1]).sum() <= d.policy_shift_bound(change, beta)


def test_appeals_estimate_the_false_negatives() -> None:
    appeals = d.AppealRate(share=0.25, rate=0.5)
    assert appeals.update(positives=60, flipped=10) == pytest.approx(0.4)
    assert appeals.update(positives=80, flipped=5) == pytest.approx(0.3)


def test_support_within_k_samples() -> None:
    before = [[False, True], [True, False], [False, False]]
    after = [[True, True], [False, True], [False, True]]
    assert d.Support.within(before, after, 1) == d.Support(kept=0, gained=1, lost=1)
    assert d.Support.within(before, after, 2) == d.Support(kept=2, gained=1, lost=0)


def test_product_gates_compound_false_negatives() -> None:
    assert d.gate_false_negatives([0.1] * 3) == pytest.approx(1 - 0.9**3)


def test_bootstrap_interval_holds_the_mean() -> None:
    values = np.random.default_rng(0).random(200)
    low, high = d.bootstrap_interval(values.tolist())
    assert low < values.mean() < high
    assert high - low < 0.12
