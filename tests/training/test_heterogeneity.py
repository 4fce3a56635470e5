"""What verification is worth: best of n, heterogeneity, anti-concentration."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from agentrl.training.heterogeneity import (
    action_variance,
    anti_concentration,
    best_of_n,
    branch_variance,
    heterogeneity,
)
from agentrl.training.statistics import pass_at_k


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_best_of_n_is_the_mean_over_all_subsets(n):
    values, scores = [1.0, 0.0, 0.5, 2.0, -1.0], [0.2, 0.9, 0.9, 0.1, 0.2]
    picks = []
    for subset in itertools.combinations(range(5), n):
        top = max(scores[i] for i in subset)
        picks.append(np.mean([values[i] for i in subset if scores[i] == top]))
    assert best_of_n(values, scores, n) == pytest.approx(np.mean(picks))


def test_with_an_exact_verifier_it_is_pass_at_n():
    wins = [1, 0, 0, 1, 0, 0, 0, 0]
    for n in range(1, 9):
        assert best_of_n(wins, wins, n) == pytest.approx(pass_at_k(2, 8, n))


def test_a_blind_verifier_picks_at_random():
    assert best_of_n([0, 1, 1, 0], [5, 5, 5, 5], 3) == pytest.approx(0.5)


def test_too_few_draws_are_refused():
    with pytest.raises(ValueError, match="best of 3 needs"):
        best_of_n([1, 0], [1, 0], 3)
    with pytest.raises(ValueError, match="2 values, 1 scores"):
        best_of_n([1, 0], [1], 1)
    with pytest.raises(ValueError, match="two branches"):
        branch_variance([[1.0, 0.0]])


def test_the_estimate_is_right_on_average():
    rng, q, p = np.random.default_rng(0), np.array([0.1, 0.5, 0.9]), np.array([0.5, 0.3, 0.2])
    drawn = q[rng.choice(3, (4000, 4), p=p)]
    luck = rng.random((4000, 4, 3)) < drawn[..., None]
    found = np.mean([branch_variance(state) for state in luck.astype(float)])
    assert found == pytest.approx(action_variance(q, p), abs=0.01)


def test_a_policy_without_choice_has_none():
    assert action_variance([0, 1], [0.5, 0.5]) == pytest.approx(0.25)
    assert action_variance([0.3, 1], [1, 0]) == pytest.approx(0)
    assert heterogeneity([[[[0.4, 0.4], [0.4, 0.4]], []], [[]], []]) == pytest.approx(0)


def test_it_is_the_variance_of_the_returns_where_only_the_policy_draws():
    """A tree of two draws with values at its leaves: the law of total variance."""
    rng = np.random.default_rng(1)
    first, second = rng.dirichlet(np.ones(3)), rng.dirichlet(np.ones(2), 3)
    leaf = rng.normal(size=(3, 2))
    q = (second * leaf).sum(1)
    steps = action_variance(q, first) + float(
        first @ [action_variance(v, p) for v, p in zip(leaf, second, strict=True)]
    )
    assert steps == pytest.approx(action_variance(leaf.ravel(), (first[:, None] * second).ravel()))


def test_how_often_it_is_that_much_better():
    returns = [0.0, 0.0, 0.0, 1.0]
    assert anti_concentration(returns, sigma=1.0, epsilon=0.25) == 0.25
    assert anti_concentration(returns, sigma=1.0, epsilon=1.0) == 0.0
