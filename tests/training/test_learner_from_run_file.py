"""Every algorithm and option of the learner, from the text of a run file to an optimiser step."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from agentrl.core import Check, Episode, Group, Origin, Score, SegmentBuilder, Status, Task, Turn
from agentrl.learner import PRESETS, Learner, weights
from agentrl.training.config import load_config

RUN = """\
model: somewhere
environment: {{kind: "ledger:Ledger"}}
tasks: {{train: tasks.jsonl}}
reward: {{kind: submitted}}
learner: {learner}
"""
VOCAB = 40


def learner_of(tmp_path: Path, text: str) -> Learner:
    """What a run file with this `learner:` section trains with."""
    path = tmp_path / "run.yaml"
    path.write_text(RUN.format(learner=text))
    torch.manual_seed(0)
    model = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=VOCAB,
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=8,
            max_position_embeddings=256,
        )
    ).eval()
    return Learner(SimpleNamespace(model=model), load_config(path).learner)


def batch(version: int = 0) -> list[Group]:
    """Two groups of two-turn episodes; one was cut off, one broke, one judge abstained."""
    rng = np.random.default_rng(0)
    groups = []
    for g, rewards in enumerate(([1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 0.5])):
        task = Task(id=f"task-{g}", prompt="", metadata={"role": "easy" if g else "hard"})
        members = [_episode(rng, task, f"{g}-{i}", r, version) for i, r in enumerate(rewards)]
        groups.append(Group((task.id,), members))
    groups[0].episodes[2].status = Status.MAX_TOKENS
    groups[1].episodes[0].status = Status.INFRA_ERROR
    groups[1].episodes[3].scores["reward"].abstained = True
    return groups


def _episode(
    rng: np.random.Generator, task: Task, name: str, reward: float, version: int
) -> Episode:
    build = SegmentBuilder()
    build.append([1, 2, 3, 4], Origin.PROMPT, -1)
    for turn in range(2):
        tokens = rng.integers(0, VOCAB, 3).tolist()
        build.append_sampled(tokens, [-3.7] * 3, [version] * 3, turn)
        build.append(rng.integers(0, VOCAB, 2).tolist(), Origin.OBSERVATION, turn)
    checks = [Check("compiles", float(reward > 0), passed=reward > 0)]
    return Episode(
        task,
        id=name,
        status=Status.COMPLETED,
        turns=[Turn(np.zeros(3), np.zeros(3), "") for _ in range(2)],
        segments=[build.build()],
        scores={"reward": Score(reward, checks, steps=[0.1, reward])},
    )


@pytest.mark.parametrize("algorithm", sorted(PRESETS))
def test_every_algorithm_learns_from_a_run_file(algorithm: str, tmp_path: Path) -> None:
    subject = learner_of(tmp_path, f"{{algorithm: {algorithm}, learning_rate: 1e-3}}")
    before = [p.detach().clone() for p in subject.policy.model.parameters()]
    out = subject.step(batch())
    assert out["episodes"] == 6
    assert out["episodes_left_out"] == 2
    assert out["grad_norm"] > 0
    assert all(np.isfinite(v) for v in out.values())
    after = subject.policy.model.parameters()
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))


OPTIONS: dict[str, str] = {
    "turn level": "{ratio: {level: turn}, aggregation: {kind: turn}}",
    "step level": "{algorithm: process}",
    "item level": "{channels: {outcome: {source: items}}}",
    "whole batch": "{channels: {outcome: {by: []}}}",
    "full divergence": "{divergences: {kl: {estimator: full, coefficient: 0.1}}}",
    "forward divergence": "{divergences: {kl: {direction: forward, coefficient: 0.1}}}",
    "divergence in reward": "{divergences: {kl: {place: reward, estimator: k1, coefficient: 1.0}}}",
    "average": "{divergences: {kl: {coefficient: 0.1}}, reference: {kind: ema, rate: 0.5}}",
    "adapters": "{lora: {rank: 2}, divergences: {kl: {coefficient: 0.1}}, "
    "reference: {kind: adapter_off}}",
    "bfloat16": "{autocast: bfloat16}",
    "accumulation": "{token_budget: 8, max_grad_norm: 0.1}",
    "hint free": "{ratio: {hints: strip}}",
    "recomputed": "{ratio: {old: recompute}, mini_batches: 2, epochs: 2}",
    "masked": "{ratio: {correction: mask, old: behaviour}}",
    "turn critic": "{algorithm: ppo, critic: {level: turn}}",
    "own critic": "{algorithm: ppo, critic: {kind: model}}",
}


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_learns_from_a_run_file(name: str, tmp_path: Path) -> None:
    subject = learner_of(tmp_path, OPTIONS[name])
    out = subject.step(batch())
    assert out["optimizer_steps"] == (4 if name == "recomputed" else 1)
    assert all(np.isfinite(v) for v in out.values())


def test_minimum_group_size(tmp_path: Path) -> None:
    out = learner_of(tmp_path, "{channels: {outcome: {min_group: 3}}}").step(batch())
    assert out["advantage_max"] > 0
    assert out["tokens_skipped"] == 12  # the group of two
    out = learner_of(tmp_path, "{channels: {outcome: {min_group: 5}}}").step(batch())
    assert out["optimizer_steps"] == 0


def test_overlong_episodes_by_stop_reason(tmp_path: Path) -> None:
    kept = learner_of(tmp_path, "{algorithm: dapo, field: {flags: {truncated: 1.0}}}")
    filtered = learner_of(tmp_path, "{algorithm: dapo}")
    assert kept.step(batch())["tokens_trained"] == 36
    assert filtered.step(batch())["tokens_trained"] == 30
    penalty = "{returns: [{kind: penalty, flag: truncated, shift: 0.5}]}"
    assert learner_of(tmp_path, penalty).step(batch())["reward_mean"] == pytest.approx(2.5 / 6)


def test_schedule_and_critic_warm_up(tmp_path: Path) -> None:
    text = (
        "{algorithm: ppo, learning_rate: 1e-2, schedule: cosine, warmup_steps: 2, total_steps: 6, "
        "critic: {warmup_steps: 1}}"
    )
    subject = learner_of(tmp_path, text)
    weight = subject.policy.model.model.layers[0].mlp.up_proj.weight
    start = weight.detach().clone()
    rates = []
    for step in range(4):
        out = subject.step(batch(step))
        rates.append(out["learning_rate"])
        assert torch.equal(weight, start) is (step < 1)
        assert "explained_variance" in out
    np.testing.assert_allclose(rates, [5e-3, 1e-2, 1e-2, 1e-2 * 0.5 * (1 + np.cos(np.pi / 4))])


def test_bootstrap_at_limits(tmp_path: Path) -> None:
    """A value of 5 everywhere: a cut episode returns 5 more than it earned."""
    returns: dict[bool, Any] = {}
    for bootstrap in (True, False):
        text = f"{{algorithm: ppo, critic: {{bootstrap: {str(bootstrap).lower()}, lam: 1.0}}}}"
        subject = learner_of(tmp_path, text)
        assert subject.critic is not None
        torch.nn.init.constant_(subject.critic.head.bias, 5.0)
        seen: list[Any] = []

        def spy(rows: Any, *rest: Any, seen: Any = seen) -> Any:
            seen += [r.returns[-1] for r in rows]
            return weights.weigh(rows, *rest)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("agentrl.learner.learner.weigh", spy)
            subject.step(batch())
        returns[bootstrap] = np.array(seen)
    difference = returns[True] - returns[False]
    np.testing.assert_allclose(difference, [0, 0, 5, 0, 0, 0], atol=1e-5)
