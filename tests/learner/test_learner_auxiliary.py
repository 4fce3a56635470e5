"""Auxiliary losses: their gradients are those of the formula, and they leave the rest alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from learner_kit import Gradient, close, group, make_on_policy, tiny_model
from test_learner_spans import TwoLetters

from agentrl.core import Group, Score, Status
from agentrl.learner import Learner, LearnerError, LearnerSettings
from agentrl.learner.extensions.auxiliary import class_weights

TOKEN = 60
OWN: dict[str, Any] = {"kind": "last_token", "token": TOKEN, "c_ref": -5.0, "coefficient": 0.3}
SILENT = {"outcome": {"weight": 0.0}}


class Policy:
    def __init__(self, model: Any) -> None:
        self.model = model


def answers() -> Group:
    """Three right answers and two wrong ones, of which one was cut off."""
    made = group(np.random.default_rng(0), [1.0, 0.0, 1.0, 1.0, 0.0])
    made.episodes[4].status = Status.MAX_TOKENS
    for i, e in enumerate(made.episodes):
        e.task.reference["answer"] = "abc"[: i + 1]
    return made


def gradient(made: Group, model: Any = None, **settings: Any) -> tuple[torch.Tensor, dict]:
    defaults = {"max_grad_norm": 0.0, "learning_rate": 0.0, "min_shared": 2}
    subject = Learner(
        Policy(model or tiny_model()), LearnerSettings(**(defaults | settings)), TwoLetters()
    )
    probe = Gradient(subject)
    out = subject.step([made])
    return probe.vector(), out


def by_hand(made: Group, loss: Any) -> torch.Tensor:
    """Gradient of `loss(episode number, log-softmax of the logits behind the tokens so far)`."""
    model = tiny_model()
    total = torch.zeros((), dtype=torch.float64)
    for i, e in enumerate(made.episodes):
        for tokens, target, weight, shape in loss(i, e):
            ids = torch.as_tensor([*tokens, *target])[None]
            logps = model(input_ids=ids).logits[0].log_softmax(-1)
            at = torch.arange(len(tokens) - 1, ids.shape[1] - 1)
            total = total + weight * shape(logps[at, torch.as_tensor(target)]).sum()
    total.backward()
    return torch.cat([p.grad.reshape(-1) for p in model.parameters()])


def test_the_last_token_loss_is_the_formula():
    """0.3 / 5 * sum of w (0.1 (log p + 5) - verdict)^2; w is 4/6 for right, 4/2 for wrong."""
    made = answers()

    def loss(i, e):
        if i == 4:
            return []
        w, right = (4 / 2, 0.0) if i == 1 else (4 / 6, 1.0)
        tokens = e.segments[-1].tokens.tolist()
        return [(tokens, [TOKEN], 0.3 / 5 * w, lambda logp: (0.1 * (logp + 5.0) - right) ** 2)]

    found, out = gradient(made, channels=SILENT, auxiliary={"own": OWN})
    assert close(found, by_hand(made, loss))
    assert out["auxiliary_own"] > 0
    assert out["self_reward_right"] != out["self_reward_wrong"]


def test_the_reference_loss_is_cross_entropy_behind_what_was_said():
    made = answers()

    def loss(i, e):
        target = TwoLetters().encode_plain("abc"[: i + 1])
        tokens = [*e.segments[-1].tokens.tolist(), *TwoLetters().encode_plain("\nAnswer: ")]
        return [(tokens, target, -2.0 / 5 / len(target), lambda logp: logp)]

    asked = {"references": {"kind": "reference", "coefficient": 2.0}}
    found, out = gradient(made, channels=SILENT, auxiliary=asked)
    assert close(found, by_hand(made, loss))
    assert out["reference_logprob"] < 0


@pytest.mark.parametrize("shared", [True, False])
def test_gradients_of_sampled_and_forced_tokens_add_up(shared):
    made = answers()
    make_on_policy([made], tiny_model())
    both, with_it = gradient(made, auxiliary={"own": OWN}, share_prefixes=shared)
    policy, without = gradient(made)
    forced, _ = gradient(made, channels=SILENT, auxiliary={"own": OWN})
    assert close(both, policy + forced)
    for name in ("entropy", "ratio_mean", "clip_high", "mismatch_abs", "advantage_std"):
        assert with_it[name] == pytest.approx(without[name])


def test_one_forced_token_costs_few_positions():
    made = group(np.random.default_rng(0), [1.0, 0.0], shapes=[((40, 0),), ((40, 0),)])
    _, without = gradient(made)
    _, with_it = gradient(made, auxiliary={"own": OWN})
    assert with_it["tokens_processed"] - without["tokens_processed"] <= 2


def test_the_reference_policy_says_what_the_token_was_worth():
    """At the start every self-reward is 0, whatever the model."""
    made = answers()
    _, out = gradient(made, channels=SILENT, auxiliary={"own": {**OWN, "c_ref": None}})
    assert out["self_reward_right"] == pytest.approx(0.0, abs=1e-9)
    assert out["auxiliary_own"] == pytest.approx(0.3 / 5 * 3 * 4 / 6)


def test_a_flat_group_teaches_its_self_reward_and_the_verdict_is_that_before_transforms():
    made = group(np.random.default_rng(0), [0.0, 0.0])
    found, out = gradient(made, auxiliary={"own": OWN})
    assert out["optimizer_steps"] == 1
    assert found.norm() > 0
    for e in made.episodes:
        e.scores["reward/before_transforms"] = Score(1.0)
    _, changed = gradient(made, auxiliary={"own": OWN})
    assert "self_reward_right" in changed
    assert changed["auxiliary_own"] != out["auxiliary_own"]


def test_what_is_missing_is_told():
    made = answers()
    with pytest.raises(LearnerError, match="no score 'judge'"):
        gradient(made, auxiliary={"own": {**OWN, "verdict": "judge"}})
    subject = Learner(Policy(tiny_model()), LearnerSettings(auxiliary={"r": {"kind": "reference"}}))
    with pytest.raises(LearnerError, match="no tokenizer"):
        subject.step([made])


def test_a_loss_of_ones_own():
    """Anything with `rows` and `loss`: here, twice the reference loss of the settings."""
    from agentrl.learner.extensions.auxiliary import Reference
    from agentrl.learner.extensions.auxiliary_settings import ReferenceLoss

    made = answers()
    mine = Reference(ReferenceLoss(coefficient=2.0))
    settings = LearnerSettings(max_grad_norm=0.0, channels=SILENT)  # type: ignore[arg-type]
    subject = Learner(Policy(tiny_model()), settings, TwoLetters(), {"mine": mine})
    probe = Gradient(subject)
    assert subject.step([made])["auxiliary_mine"] > 0
    asked = {"references": {"kind": "reference", "coefficient": 2.0}}
    assert close(probe.vector(), gradient(made, channels=SILENT, auxiliary=asked)[0])


def test_classes_weigh_alike():
    assert class_weights([True] * 3 + [False] * 5) == [4 / 3] * 3 + [0.8] * 5
    assert class_weights([True, True]) == [0.5, 0.5]
    assert class_weights([]) == []
