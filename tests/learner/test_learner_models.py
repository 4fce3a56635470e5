"""Models whose attention or head is not the plain one, critics from disk: exact, or told."""

from __future__ import annotations

import copy
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from learner_kit import VOCAB, Gradient, close, group, learner, tiny_model

from agentrl.core import ConfigError
from agentrl.learner import Learner, LearnerSettings
from agentrl.learner.rows import make_rows
from agentrl.models.heads import ScaledHead, language_head

SMALL = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,
}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def make(family: str, **config: Any) -> Any:
    torch.manual_seed(0)
    made = getattr(transformers, f"{family}Config")(**SMALL | config)
    return getattr(transformers, f"{family}ForCausalLM")(made).eval()


def check_against_transformers(model: Any) -> Learner:
    """Log-probabilities and gradient of our rows are those of transformers' own forward pass."""
    plain = copy.deepcopy(model)
    subject = learner(
        model, min_shared=2, max_grad_norm=0.0, ratio={"old": "current", "correction": "none"}
    )
    groups = [group(rng(k), [1.0, 0.0, 0.5], str(k)) for k in range(2)]
    rows = make_rows([e for g in groups for e in g.episodes])
    losses = []
    for batch in subject.looks.micro_batches(rows):
        got = subject.trunk.logprobs(batch)[0].detach()
        want = torch.cat([_logprobs(plain, row) for row in batch.rows])
        torch.testing.assert_close(got, want.detach(), rtol=1e-4, atol=1e-4)
    probe = Gradient(subject)
    subject.step(groups)
    for row in rows:
        reward = groups[row.episode // 3].episodes[row.episode % 3].reward
        advantage = (reward - 0.5) / (0.5 + 1e-4)
        losses.append(-advantage * _logprobs(plain, row).mean() / len(rows))
    torch.stack(losses).sum().backward()
    grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in plain.parameters()]
    assert close(probe.vector(), torch.cat([g.reshape(-1) for g in grads]), 1e-4)
    return subject


def _logprobs(model: Any, row: Any) -> torch.Tensor:
    logits = model(input_ids=torch.as_tensor(row.tokens)[None]).logits[0]
    logps = logits[torch.as_tensor(row.where)].log_softmax(-1)
    return logps.gather(1, torch.as_tensor(row.target)[:, None])[:, 0]


SCALED = {
    "Cohere": {"logit_scale": 0.5, "pad_token_id": 0},
    "Granite": {"logits_scaling": 3.0},
}


@pytest.mark.parametrize("family", SCALED)
def test_heads_that_scale_their_logits(family: str) -> None:
    model = make(family, **SCALED[family])
    assert isinstance(language_head(model), ScaledHead)
    subject = check_against_transformers(model)
    assert not subject.looks.one_by_one


ALONE = {
    "Mistral": ({"sliding_window": 4}, "window"),
    "Gemma2": ({"head_dim": 8, "sliding_window": 4, "final_logit_softcapping": 5.0}, "window"),
    "GptOss": (
        {
            "head_dim": 8,
            "num_local_experts": 2,
            "num_experts_per_tok": 1,
            "layer_types": ["full_attention"] * 2,
        },
        "sinks",
    ),
}


@pytest.mark.parametrize("family", ALONE)
def test_attention_without_a_packed_form_falls_back_and_says_why(
    family: str, caplog: pytest.LogCaptureFixture
) -> None:
    config, reason = ALONE[family]
    with caplog.at_level(logging.WARNING):
        subject = check_against_transformers(make(family, **config))
    assert reason in subject.looks.one_by_one
    assert reason in caplog.text
    rows = make_rows(group(rng(), [0.0, 1.0]).episodes)
    assert [len(b.rows) for b in subject.looks.micro_batches(rows)] == [1, 1]


def test_a_fused_head_is_never_a_copy_of_old_weights() -> None:
    """Weights that change in place (a sync, a resume) are what the next look sees."""
    subject = learner()
    rows = make_rows(group(rng(), [0.0, 1.0]).episodes)
    (batch,) = subject.looks.micro_batches(rows)
    before = subject.trunk.logprobs(batch)[0].detach()
    with torch.no_grad():
        subject.policy.model.get_output_embeddings().weight.mul_(1.5)
    assert not torch.allclose(before, subject.trunk.logprobs(batch)[0])


# Critics of their own.


def reward_model(**config: Any) -> Any:
    torch.manual_seed(1)
    made = transformers.Qwen3Config(**SMALL | {"head_dim": 8, "num_labels": 1} | config)
    return transformers.Qwen3ForSequenceClassification(made)


def critic_from(path: Path) -> Learner:
    critic = {"kind": "model", "path": str(path)}
    settings = LearnerSettings(algorithm="ppo", critic=critic)
    return Learner(SimpleNamespace(model=tiny_model()), settings)


def test_a_critic_can_start_from_a_reward_model(tmp_path: Path) -> None:
    model = reward_model()
    model.save_pretrained(tmp_path)
    subject = critic_from(tmp_path)
    assert subject.critic is not None
    row = make_rows(group(rng(), [1.0]).episodes)[0]
    (batch,) = subject.looks.micro_batches([row])
    hidden = model.double().model(input_ids=torch.as_tensor(row.tokens)[None]).last_hidden_state[0]
    want = model.score(hidden[torch.as_tensor(row.where)])[:, 0]
    got = subject.critic(batch, None, batch.where)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)
    out = subject.step([group(rng(), [1.0, 0.0])])
    assert out["critic_grad_norm"] > 0


def test_a_critic_from_a_language_model_starts_at_zero(tmp_path: Path) -> None:
    tiny_model().save_pretrained(tmp_path)
    subject = critic_from(tmp_path)
    assert subject.critic is not None
    assert not subject.critic.head.weight.any()


def test_a_critic_that_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot load a critic"):
        critic_from(tmp_path / "nothing")
    reward_model(vocab_size=7, pad_token_id=0).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="7 token ids"):
        critic_from(tmp_path)
