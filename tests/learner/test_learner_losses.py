"""Coefficient tables, walked through autograd: grad loss = -kappa * grad logp."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from agentrl.learner import losses
from agentrl.learner.presets import PRESETS
from agentrl.learner.settings import Coefficient, LearnerSettings, Ratio


def kappa(rho: float, advantage: float, c: Coefficient, old: float = -1.0) -> float:
    logp = torch.tensor([old + math.log(rho)], dtype=torch.float64, requires_grad=True)
    base = torch.full_like(logp, old)
    ratio = losses.policy_ratio(logp, base, torch.zeros(1, dtype=torch.long), "token")
    advantages = torch.full_like(logp, advantage)
    losses.policy_loss(ratio, logp, advantages.detach(), c).sum().backward()
    assert logp.grad is not None
    return -float(logp.grad)


PPO = {"kind": "ppo_clip", "low": 0.2, "high": 0.28}
CISPO = {"kind": "is_clip", "low": None, "high": 0.28}
DISPO = {
    "kind": "is_clip",
    "low": 0.2,
    "high": 0.28,
    "negative_low": 1.0,
    "negative_high": 9.0,
}
TABLE = [
    (PPO, 0.5, 1, 0.5),
    (PPO, 0.5, -1, 0.0),
    (PPO, 1.0, 1, 1.0),
    (PPO, 1.0, -1, -1.0),
    (PPO, 1.5, 1, 0.0),
    (PPO, 1.5, -1, -1.5),
    (PPO | {"dual": 3.0}, 4.0, 1, 0.0),
    (PPO | {"dual": 3.0}, 4.0, -1, 0.0),
    (PPO | {"dual": 3.0}, 2.0, -1, -2.0),
    (CISPO, 0.5, 1, 0.5),
    (CISPO, 0.5, -1, -0.5),
    (CISPO, 1.5, 1, 1.28),
    (CISPO, 1.5, -1, -1.28),
    (DISPO, 0.5, 1, 0.8),
    (DISPO, 1.0, 1, 1.0),
    (DISPO, 2.0, 1, 1.28),
    (DISPO, 0.05, -1, -0.05),
    (DISPO, 1.0, -1, -1.0),
    (DISPO, 2.0, -1, -2.0),
    (DISPO, 20.0, -1, -10.0),
    ({"kind": "is_clip", "low": 0.0, "high": 0.0}, 3.0, 1, 1.0),
    ({"kind": "is_clip", "low": 0.0, "high": 0.0}, 0.2, -1, -1.0),
    ({"kind": "shape", "gamma": 0.5}, 0.5, 1, 0.25),
    ({"kind": "shape", "gamma": 0.5}, 0.5, -1, -0.25),
    ({"kind": "shape", "gamma": 0.5}, 0.05, 1, 0.08264462809917356),
    ({"kind": "shape", "gamma": 0.5}, 5.0, 1, 0.08264462809917356),
    ({"kind": "shape", "gamma": 1.0}, 1.0, 1, 0.25),
    ({"kind": "power", "gamma": 0.5}, 4.0, 1, 1.0),
    ({"kind": "identity"}, 1.7, -1, -1.7),
    ({"kind": "reinforce"}, 1.7, -1, -1.0),
]


@pytest.mark.parametrize(("c", "rho", "advantage", "expected"), TABLE)
def test_coefficient_table(c: dict, rho: float, advantage: float, expected: float) -> None:
    assert kappa(rho, advantage, Coefficient(**c)) == pytest.approx(expected, abs=1e-9)


@given(
    st.sampled_from([row[0] for row in TABLE]),
    st.floats(0.05, 8.0),
    st.sampled_from([-1.0, 1.0]),
    st.floats(0.1, 5.0),
)
def test_coefficients_are_linear_in_the_advantage(
    c: dict, rho: float, sign: float, size: float
) -> None:
    one, many = kappa(rho, sign, Coefficient(**c)), kappa(rho, sign * size, Coefficient(**c))
    assert many == pytest.approx(size * one, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_ratio_one_is_reinforce_in_every_preset(name: str) -> None:
    c = LearnerSettings(algorithm=name).coefficient
    for advantage in (1.0, -1.0, 0.3):
        assert kappa(1.0, advantage, c) == pytest.approx(advantage)


@pytest.mark.parametrize(
    ("advantage", "rho", "clipped"),
    [(1, 1.5, True), (1, 0.5, False), (-1, 0.5, True), (-1, 1.5, False)],
)
def test_ppo_clips_only_the_side_that_would_go_on(
    advantage: float, rho: float, clipped: bool
) -> None:
    assert (kappa(rho, advantage, Coefficient()) == 0.0) is clipped


def sequence_coefficients(level: str) -> tuple[torch.Tensor, float]:
    logp = torch.tensor([-1.0, -2.0, -0.5, -3.0], dtype=torch.float64, requires_grad=True)
    old = torch.tensor([-1.1, -2.3, -0.4, -3.0], dtype=torch.float64)
    unit = torch.tensor([0, 0, 0, 1])
    ratio = losses.policy_ratio(logp, old, unit, level)
    c = Coefficient(low=10, high=10)
    losses.policy_loss(ratio, logp, torch.ones_like(old), c)[:3].sum().backward()
    assert logp.grad is not None
    return -logp.grad, float(ratio[0].detach())


def test_gspo_spreads_the_sequence_ratio_over_its_tokens() -> None:
    coefficient, ratio = sequence_coefficients("row")
    assert ratio == pytest.approx(math.exp((0.1 + 0.3 - 0.1) / 3))
    torch.testing.assert_close(coefficient, torch.tensor([ratio] * 3 + [0.0]).double())


def test_product_ratio_is_the_product() -> None:
    coefficient, ratio = sequence_coefficients("row_sum")
    assert ratio == pytest.approx(math.exp(0.1 + 0.3 - 0.1))
    torch.testing.assert_close(coefficient, torch.tensor([3 * ratio] * 3 + [0.0]).double())


def fix(old: float, behave: float, logp: float, *, behaviour: bool = False, **r: float) -> float:
    args = (torch.tensor([x], dtype=torch.float64) for x in (logp, old, behave))
    return float(losses.correction(*args, Ratio(**r), behaviour=behaviour))


def test_truncated_importance_weights() -> None:
    assert fix(math.log(3.0), 0.0, 0.0) == pytest.approx(2.0)
    assert fix(math.log(0.5), 0.0, 0.0) == pytest.approx(0.5)
    assert fix(math.log(3.0), 0.0, 0.0, correction="mask") == 0.0
    assert fix(math.log(0.4), 0.0, 0.0, correction="mask") == 0.0
    assert fix(math.log(1.5), 0.0, 0.0, correction="mask") == pytest.approx(1.5)
    assert fix(math.log(3.0), 0.0, 0.0, correction="none") == 1.0


def test_stale_tokens_never_weigh_more_than_the_cap() -> None:
    """old = behaviour: the ratio is the importance weight; the factor brings it to the cap."""
    assert 4.0 * fix(0.0, 0.0, math.log(4.0), behaviour=True) == pytest.approx(2.0)
    assert fix(0.0, 0.0, math.log(1.5), behaviour=True) == pytest.approx(1.0)


def slope(u: float, estimator: str, direction: str) -> tuple[float, float]:
    logp = torch.tensor([-1.0], dtype=torch.float64, requires_grad=True)
    target = torch.tensor([-1.0 + math.log(u)], dtype=torch.float64)
    ratio = (logp - logp.detach()).exp()
    value = losses.divergence(logp, target, estimator, direction, ratio)
    value.sum().backward()
    assert logp.grad is not None
    return float(value.detach()), float(logp.grad)


@pytest.mark.parametrize(
    ("estimator", "direction", "u", "value", "grad"),
    [
        ("k1", "reverse", 0.5, math.log(2), 1.0),
        ("k2", "reverse", 0.5, 0.5 * math.log(2) ** 2, math.log(2)),
        ("k3", "reverse", 0.1, 0.1 - math.log(0.1) - 1, 0.9),
        ("k3", "reverse", 1.0, 0.0, 0.0),
        ("k3", "reverse", 3.0, 3 - math.log(3) - 1, -2.0),
        ("k3", "forward", 0.1, 0.1 * math.log(0.1) - 0.1 + 1, 0.2302585),
        ("k3", "forward", 1.0, 0.0, 0.0),
        ("k3", "forward", 3.0, 3 * math.log(3) - 3 + 1, -3.2958369),
        ("k2", "forward", 3.0, 3 * math.log(3) - 3 + 1, -2.0),
        ("k1", "forward", 3.0, 3 * math.log(3), -3 * (math.log(3) + 1)),
        ("k3_ratio", "reverse", 2.0, 1 - math.log(2), -1.0 + 1 - math.log(2)),
    ],
)
def test_divergence_estimators(
    estimator: str, direction: str, u: float, value: float, grad: float
) -> None:
    got = slope(u, estimator, direction)
    assert got == pytest.approx((value, grad), abs=1e-6)


@pytest.mark.parametrize("direction", ["reverse", "forward"])
@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_sampled_divergences_have_the_exact_mean(estimator: str, direction: str) -> None:
    """RAPO's example: sum q (u log u - u + 1) = KL(p || q) = 0.49822."""
    p, q = np.array([0.6, 0.3, 0.1]), np.array([0.2, 0.3, 0.5])
    each = losses.divergence(
        torch.as_tensor(np.log(q)), torch.as_tensor(np.log(p)), estimator, direction, torch.ones(3)
    ).numpy()
    exact = (p * np.log(p / q)).sum() if direction == "forward" else (q * np.log(q / p)).sum()
    assert (q * each).sum() == pytest.approx(exact)
    if direction == "forward":
        assert exact == pytest.approx(0.49822, abs=1e-5)


@pytest.mark.parametrize(
    ("estimator", "direction"), [("k2", "reverse"), ("k2", "forward"), ("k3", "reverse")]
)
def test_k2_has_the_exact_gradient_on_policy(estimator: str, direction: str) -> None:
    """E_pi[gradient of the estimate] = gradient of the divergence (k3: of the forward one)."""
    z = torch.tensor([0.3, -0.2, 0.5], dtype=torch.float64, requires_grad=True)
    ref = torch.log(torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64))
    logp = z.log_softmax(0)
    each = losses.divergence(logp, ref, estimator, direction, torch.ones(3))
    (got,) = torch.autograd.grad((logp.exp().detach() * each).sum(), z, retain_graph=True)
    reverse = (logp.exp() * (logp - ref)).sum()
    forward = (ref.exp() * (ref - logp)).sum()
    exact = reverse if (estimator, direction) == ("k2", "reverse") else forward
    torch.testing.assert_close(got, torch.autograd.grad(exact, z)[0])


def test_value_clipping_takes_the_worse_error() -> None:
    value = torch.tensor([1.0, 1.0], dtype=torch.float64, requires_grad=True)
    before, returns = torch.tensor([0.0, 0.0]), torch.tensor([2.0, -2.0])
    free = losses.value_loss(value, before, returns, 0.0)
    torch.testing.assert_close(free.detach(), torch.tensor([0.5, 4.5]).double())
    clipped = losses.value_loss(value, before, returns, 0.2)
    torch.testing.assert_close(clipped.detach(), torch.tensor([0.5 * 1.8**2, 4.5]).double())
    (grad,) = torch.autograd.grad(clipped.sum(), value)
    torch.testing.assert_close(grad, torch.tensor([0.0, 3.0]).double())
