"""Reference policies, divergences over the vocabulary, critics and adapters."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from learner_kit import (
    VOCAB,
    close,
    gradient_of,
    group,
    learner,
    tiny_model,
)
from pydantic import ValidationError

from agentrl.core import ConfigError, Group
from agentrl.learner import LearnerSettings
from agentrl.models.logprobs import CHUNK, full_divergence, tempered_logprobs


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def some_groups() -> list[Group]:
    r = rng()
    return [group(r, [1.0, 0.0, 0.5], "a"), group(r, [0.0, 1.0], "b")]


def kl(**term: Any) -> dict[str, Any]:
    return {"kl": {"coefficient": 0.5, **term}}


# Divergences and references.


@pytest.mark.parametrize("direction", ["reverse", "forward"])
@pytest.mark.parametrize("powered", [False, True])
def test_full_divergence_equals_the_whole_softmax(
    direction: str, powered: bool, monkeypatch: Any
) -> None:
    monkeypatch.setitem(CHUNK, "cpu", 4 * VOCAB)
    torch.manual_seed(0)
    mine, other = (torch.nn.Linear(8, VOCAB, bias=False).double() for _ in range(2))
    h = torch.randn(10, 8, dtype=torch.float64, requires_grad=True)
    o = torch.randn(10, 8, dtype=torch.float64)
    power = torch.linspace(0, 1, 10).double() if powered else None
    got = full_divergence(h, mine, o, other, direction=direction, power=power)
    p = mine(h).log_softmax(-1)
    scale = 1.0 if power is None else power[:, None]
    q = (other(o) * scale).log_softmax(-1).detach()
    a, b = (p, q) if direction == "reverse" else (q, p)
    want = torch.nn.functional.kl_div(b, a, log_target=True, reduction="none").sum(-1)
    torch.testing.assert_close(got, want)
    for x, y in zip(
        torch.autograd.grad(got.sum(), [h, mine.weight]),
        torch.autograd.grad(want.sum(), [h, mine.weight]),
        strict=True,
    ):
        torch.testing.assert_close(x, y)


def test_tempered_reference_is_renormalised() -> None:
    """phi = 0 is uniform, phi = 1 the reference itself."""
    torch.manual_seed(0)
    head = torch.nn.Linear(8, VOCAB).double()
    h, target = torch.randn(3, 8).double(), torch.tensor([1, 2, 3])
    flat = tempered_logprobs(h, head, target, torch.zeros(3).double())
    torch.testing.assert_close(flat, torch.full((3,), -np.log(VOCAB)).double())
    same = tempered_logprobs(h, head, target, torch.ones(3).double())
    full = head(h).log_softmax(-1).gather(1, target[:, None])[:, 0]
    torch.testing.assert_close(same, full)


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3", "k3_ratio", "full"])
def test_divergence_from_an_equal_reference_is_zero(estimator: str) -> None:
    """At the start policy = reference: the estimate is 0, and so is its gradient (but k1's)."""
    plain = gradient_of(some_groups())
    pulled = gradient_of(some_groups(), divergences=kl(estimator=estimator))
    assert close(plain, pulled) is (estimator != "k1")
    out = learner(divergences=kl(estimator=estimator)).step(some_groups())
    assert out["divergence_kl"] == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("estimator", ["k2", "k3", "full"])
@pytest.mark.parametrize("direction", ["reverse", "forward"])
def test_divergence_pulls_back_to_the_reference(estimator: str, direction: str) -> None:
    subject = learner(
        divergences={"kl": {"coefficient": 5.0, "estimator": estimator, "direction": direction}},
        learning_rate=3e-3,
    )
    flat = [group(rng(), [0.0] * 4)]
    with torch.no_grad():
        for p in subject.policy.model.parameters():
            p.add_(0.05 * torch.randn_like(p))
    values = [subject.step(flat)["divergence_kl"] for _ in range(8)]
    assert values[0] > 0
    assert values[-1] < 0.5 * values[0]


def test_divergence_on_flat_groups_is_not_skipped() -> None:
    """No advantage, but the reference still pulls: such rows have a gradient."""
    subject = learner(divergences={"entropy": {"target": "uniform", "coefficient": 0.1}})
    out = subject.step([group(rng(), [0.0, 0.0])])
    assert out["optimizer_steps"] == 1.0
    assert out["grad_norm"] > 0


def test_entropy_bonus_raises_entropy() -> None:
    subject = learner(divergences={"entropy": {"target": "uniform", "coefficient": 1.0}})
    out = [subject.step([group(rng(), [0.0, 0.0])])["entropy"] for _ in range(6)]
    assert out[-1] > out[0]


def test_average_reference_follows_at_its_rate() -> None:
    subject = learner(divergences=kl(), reference={"kind": "ema", "rate": 0.25})
    assert subject.reference is not None
    before = copy.deepcopy(list(subject.policy.model.parameters()))
    subject.step(some_groups())
    pairs = zip(
        before,
        subject.policy.model.parameters(),
        subject.reference.trunk.model.parameters(),
        strict=True,
    )
    moved = False
    for old, new, mean in pairs:
        torch.testing.assert_close(mean.data, old.data.lerp(new.data, 0.25))
        moved = moved or not torch.equal(old, new)
    assert moved


def test_frozen_reference_stays() -> None:
    subject = learner(divergences=kl())
    assert subject.reference is not None
    before = copy.deepcopy(list(subject.reference.trunk.model.parameters()))
    subject.step(some_groups())
    for a, b in zip(before, subject.reference.trunk.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_divergence_in_the_reward_is_taken_off_before_the_baseline() -> None:
    """A constant penalty per token becomes beta * sum (behave - reference) of each episode."""
    groups = some_groups()
    subject = learner(algorithm="dr_grpo", divergences=kl(estimator="k1", place="reward"))
    episodes = [e for g in groups for e in g.episodes]
    rows = subject._rows(episodes)
    from agentrl.learner import credit

    table = credit.turn_table(episodes, np.array([0, 0, 0, 1, 1]))
    subject.looks.before_update(rows, table)
    subject._credit(rows, episodes, table)
    want = [
        e.reward - 0.5 * float((r.behave - r.reference).sum())
        for e, r in zip(episodes, rows, strict=True)
    ]
    np.testing.assert_allclose(table.outcome, want)
    np.testing.assert_allclose(rows[3].advantage[0], (want[3] - want[4]) / 2)


def test_terms_that_cannot_be_are_refused() -> None:
    for bad in (
        {"divergences": kl(estimator="full", place="reward")},
        {"divergences": kl(direction="forward", estimator="k3_ratio")},
        {"critic": {}, "link": {}},
        {"hindsight": {}, "link": {}},
        {"algorithm": "grop"},
        {"learning_rat": 1.0},
        {"schedule": "cosine"},
    ):
        with pytest.raises(ValidationError):
            LearnerSettings(**bad)
    with pytest.raises(ConfigError, match="no adapter"):
        learner(divergences=kl(), reference={"kind": "adapter_off"})


# LoRA.


def test_adapter_off_reference_is_the_policy_before_training() -> None:
    base = tiny_model()
    frozen = learner(copy.deepcopy(base), divergences=kl(), lora={"rank": 2})
    off = learner(
        copy.deepcopy(base), divergences=kl(), lora={"rank": 2}, reference={"kind": "adapter_off"}
    )
    off.load_state_dict(frozen.state_dict() | {"reference": {}})
    for _ in range(3):
        a, b = frozen.step(some_groups()), off.step(some_groups())
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-9)
        assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=1e-9)
    assert a["divergence_kl"] > 0
    names = {n for n, p in off.policy.model.named_parameters() if p.requires_grad}
    assert names
    assert all("lora_" in n for n in names)


def test_adapter_on_no_layer_is_refused() -> None:
    with pytest.raises(ConfigError, match="q_prj"):
        learner(lora={"targets": ["q_prj"]})


# Critic.


@pytest.mark.parametrize("kind", ["head", "model"])
@pytest.mark.parametrize("level", ["token", "turn"])
def test_critic_learns_the_value_of_what_it_sees(kind: str, level: str) -> None:
    """Two prompts, one always worth 1, one worth 0: values come to tell them apart."""
    subject = learner(
        algorithm="ppo",
        learning_rate=0.0,
        critic={"kind": kind, "level": level, "learning_rate": 3e-2, "clip": 0, "lam": 1.0},
    )
    r = rng()
    groups = [group(r, [1.0] * 3, "good"), group(r, [0.0] * 3, "bad")]
    outs = [subject.step(groups) for _ in range(40)]
    assert outs[0]["explained_variance"] == pytest.approx(0.0, abs=1e-6)
    assert outs[-1]["explained_variance"] > 0.8
    assert outs[-1]["value_loss"] < 0.3 * outs[0]["value_loss"]


@pytest.mark.parametrize("kind", ["head", "model"])
def test_critic_warm_up_leaves_the_policy_alone(kind: str) -> None:
    subject = learner(algorithm="ppo", critic={"kind": kind, "warmup_steps": 2})
    before = copy.deepcopy(subject.policy.model.state_dict())
    for step in range(3):
        subject.step(some_groups())
        same = all(torch.equal(v, before[n]) for n, v in subject.policy.model.state_dict().items())
        assert same is (step < 2)


@pytest.mark.parametrize("kind", ["head", "model"])
def test_critic_gradient_does_not_depend_on_micro_batches(kind: str) -> None:
    def run(**change: Any) -> torch.Tensor:
        subject = learner(algorithm="ppo", max_grad_norm=0, critic={"kind": kind}, **change)
        assert subject.critic is not None
        torch.nn.init.normal_(
            subject.critic.head.weight, generator=torch.Generator().manual_seed(1)
        )
        taken = []
        step = subject.optimizer.step
        subject.optimizer.step = lambda: taken.extend(  # type: ignore[method-assign,assignment]
            p.grad.reshape(-1) for _, p in subject._parameters() if p.grad is not None
        )
        subject.step(some_groups())
        subject.optimizer.step = step  # type: ignore[method-assign]
        return torch.cat(taken)

    base = run()
    assert close(base, run(token_budget=1))
    assert close(base, run(share_prefixes=False))


def test_tulu_rewards_are_ten_or_minus_ten() -> None:
    from agentrl.core import Status
    from agentrl.learner import credit

    g = group(rng(), [1.0, 0.0, 1.0])
    g.episodes[2].status = Status.MAX_TOKENS
    s = LearnerSettings(algorithm="tulu3")
    got = credit.returns(g.episodes, np.zeros(3, np.int64), s.returns)
    np.testing.assert_array_equal(got, [10.0, 0.0, -10.0])
