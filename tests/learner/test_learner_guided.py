"""Hints in the learner: two contexts, tokens of others, pairs, and a teacher that reads hints."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from learner_kit import close, episode, gradient_of, group, learner, make_on_policy, tiny_model

from agentrl.core import Group, Origin
from agentrl.learner import LearnerSettings, losses
from agentrl.learner.link import link_loss
from agentrl.learner.rows import make_rows
from agentrl.learner.settings import Coefficient, Link
from agentrl.models.logprobs import distance, with_tail

QUIET = {
    "ratio": {"hints": "strip"},
    "channels": {"outcome": {"weight": 0.0}},
    "reference": {"kind": "ema", "rate": 0.05},
}


def taught(**term: object) -> dict:
    teacher = {"target": "hinted", "coefficient": 1.0, **term}
    return QUIET | {"divergences": {"teacher": teacher}}


def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def test_the_ratio_of_the_two_contexts_is_the_models_own() -> None:
    """With the true hinted log-probabilities as behaviour, the ratio is pi(y|x) / pi(y|x, h)."""
    model = tiny_model()
    (hinted,) = make_on_policy([group(rng(), [1.0, 0.0], hint=3)], model)
    subject = learner(model, algorithm="guide")
    rows = subject._rows(hinted.episodes)
    subject.looks.fill(rows, "now", lambda b: subject.trunk.logprobs(b)[0])
    whole = make_rows(hinted.episodes)
    subject.looks.fill(whole, "now", lambda b: subject.trunk.logprobs(b)[0])
    for bare, full in zip(rows, whole, strict=True):
        assert bare.hinted
        assert np.allclose(bare.behave, full.now, atol=1e-9)
        assert not np.allclose(bare.now, full.now, atol=1e-3)
        assert np.array_equal(bare.target, full.target)


def test_an_empty_hint_makes_the_ratio_one() -> None:
    model = tiny_model()
    (plain,) = make_on_policy([group(rng(), [1.0, 0.0])], model)
    rows = learner(model, algorithm="guide")._rows(plain.episodes)
    assert not any(r.hinted or r.foreign.any() for r in rows)


def test_tokens_of_a_teacher_are_told_from_the_prefix_that_is_ours() -> None:
    """SCOPE: the kept prefix is clipped as ever, the repair is shaped: the sum of both alone."""
    (mixed,) = make_on_policy([group(rng(), [1.0, 0.0])], tiny_model())
    segment = mixed.episodes[0].segments[0]
    other = segment.action_mask & (segment.turn == 1)
    segment.weights[other], segment.logprobs[other] = -1, 0.0
    (row, *_) = make_rows(mixed.episodes)
    assert np.array_equal(row.foreign, row.turn == 1)
    shaped = {"kind": "shape", "gamma": 0.1}
    base = {"channels": {"outcome": {"scale": "none"}}, "aggregation": {"kind": "token"}}
    both = gradient_of([mixed], **base, off_policy=shaped)
    assert not close(both, gradient_of([mixed], **base))


@pytest.mark.parametrize("probability", [0.1, 0.02, 0.5])
def test_kappa_of_a_repair(probability: float) -> None:
    logp = torch.tensor([math.log(probability)], dtype=torch.float64, requires_grad=True)
    ratio = losses.policy_ratio(logp, torch.zeros(1), torch.zeros(1, dtype=torch.long), "token")
    one = torch.ones(1, dtype=torch.float64)
    loss = losses.policy_loss(ratio, logp, one, Coefficient(kind="shape", gamma=0.1))
    (slope,) = torch.autograd.grad(loss.sum(), logp)
    kappa = probability * 0.1 / (probability + 0.1) ** 2
    assert -float(slope) == pytest.approx(kappa)
    if probability == 0.1:
        assert kappa == pytest.approx(0.25)


def test_preference_at_the_reference_is_ln_2() -> None:
    score = torch.zeros(4, dtype=torch.float64)
    label = torch.tensor([True, False, False, False])
    keys = torch.tensor([0, 0, 0, 1])
    assert float(link_loss(score, label, keys, Link(kind="dpo"))) == pytest.approx(math.log(2))
    alone = link_loss(score[:2], torch.tensor([True, True]), keys[:2], Link(kind="dpo"))
    assert float(alone) == 0.0


def test_preference_raises_what_passed_and_lowers_what_failed() -> None:
    link = {"kind": "dpo", "score": "sum", "scale": 0.1}
    model = tiny_model()
    g = group(rng(), [1.0, 0.0])
    subject = learner(model, link=link, learning_rate=1e-3)
    rows = make_rows(g.episodes)

    def look() -> list[float]:
        subject.looks.fill(rows, "now", lambda b: subject.trunk.logprobs(b)[0])
        return [float(r.now.sum()) for r in rows]

    before = look()
    first = subject.step([g])
    assert first["link_loss"] == pytest.approx(math.log(2))
    for _ in range(5):
        last = subject.step([g])
    after = look()
    assert after[0] - before[0] > 0 > after[1] - before[1]
    assert last["link_loss"] < first["link_loss"]


def test_preference_knows_nothing_of_the_behaviour_policy() -> None:
    """Guided or not: only the policy and its reference count, in the context without the hint."""
    link = {"kind": "dpo", "score": "sum", "scale": 0.1}
    one, two = group(rng(), [1.0, 0.0], hint=2), group(rng(), [1.0, 0.0], hint=2)
    for e in two.episodes:
        e.segments[0].logprobs -= 1.0
    given = {"link": link, "ratio": {"hints": "strip"}}
    assert close(gradient_of([one], **given), gradient_of([two], **given))


@pytest.mark.parametrize("term", [{"estimator": "k2"}, {"estimator": "full", "direction": "jsd"}])
def test_a_teacher_that_is_told_nothing_teaches_nothing(term: dict) -> None:
    """Without hints there is no teacher, and where hints change nothing the gradient is zero."""
    assert gradient_of([group(rng(), [1.0, 0.0])], **taught(**term)).norm() == 0.0
    model = tiny_model()
    told = group(rng(), [1.0, 0.0], hint=3)
    for e in told.episodes:
        e.guidance["placement"] = "teacher_only"
    assert gradient_of([told], model, **taught(**term)).norm() > 1e-6


def test_sampled_distillation_has_the_gap_to_the_teacher_as_its_coefficient() -> None:
    """kappa_t = log pi_T - log pi, aggregated over tokens."""
    model = tiny_model()
    told = group(rng(), [1.0, 0.0], hint=3)
    for e in told.episodes:
        e.guidance["placement"] = "teacher_only"
    found = gradient_of(
        [told], model, aggregation={"kind": "token"}, **taught(estimator="k2", direction="reverse")
    )
    rows, whole = make_rows(told.episodes, strip_hints=True), make_rows(told.episodes)
    assert not any(r.hinted or r.foreign.any() for r in rows)
    total = sum(len(r.target) for r in rows)
    loss = torch.zeros((), dtype=torch.float64)
    fresh = tiny_model()
    for bare, full in zip(rows, whole, strict=True):
        lp = _logprobs(fresh, bare)
        gap = (_logprobs(fresh, full) - lp).detach()
        loss = loss - (gap * lp).sum() / total
    loss.backward()
    wanted = torch.cat([p.grad.reshape(-1) for p in fresh.parameters()])
    assert close(found, wanted, 1e-5)


def _logprobs(model, row) -> torch.Tensor:
    logits = model(input_ids=torch.as_tensor(row.tokens)[None]).logits[0]
    chosen = logits[torch.as_tensor(row.where)].log_softmax(-1)
    return chosen.gather(1, torch.as_tensor(row.target)[:, None])[:, 0]


def test_the_teacher_follows_at_its_rate() -> None:
    subject = learner(tiny_model(), **taught(estimator="k2"))
    told = group(rng(), [1.0, 0.0], hint=3)
    assert subject.reference is not None
    before = [p.clone() for p in subject.reference.trunk.model.parameters()]
    subject.step([told])
    now = list(subject.policy.model.parameters())
    for old, mine, theirs in zip(
        before, subject.reference.trunk.model.parameters(), now, strict=True
    ):
        assert torch.allclose(mine, 0.95 * old + 0.05 * theirs)


def test_jensen_shannon_in_numbers() -> None:
    p = torch.tensor([[0.7, 0.2, 0.1]], dtype=torch.float64).log()
    q = torch.tensor([[0.1, 0.2, 0.7]], dtype=torch.float64).log()
    both = distance(p, q, "jsd", 0.5)
    assert float(both) == pytest.approx(0.2531, abs=5e-5)
    assert float(both) <= math.log(2)
    assert float(distance(p, p, "jsd", 0.3)) == pytest.approx(0.0, abs=1e-12)


def test_the_tail_is_what_the_top_leaves() -> None:
    p = torch.tensor([[0.5, 0.3, 0.15, 0.05]], dtype=torch.float64).log()
    assert with_tail(p[:, :2]).exp().sum() == pytest.approx(1.0)
    assert with_tail(p[:, :2]).exp()[0, -1] == pytest.approx(0.2)


def test_a_teacher_is_refused_where_hints_stay_in_the_context() -> None:
    with pytest.raises(ValueError, match="needs"):
        LearnerSettings(divergences={"t": {"target": "hinted", "coefficient": 1.0}})
    with pytest.raises(ValueError, match="estimator: full"):
        LearnerSettings(divergences={"t": {"direction": "jsd", "coefficient": 1.0}})


def test_forced_tokens_are_never_trained() -> None:
    made = episode(rng(), 1.0, hint=2)
    segment = made.segments[0]
    assert (segment.origin == Origin.HINT).any()
    (row,) = make_rows(Group(("t",), [made]).episodes)
    assert len(row.target) == made.trained_tokens
