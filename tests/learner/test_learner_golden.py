"""Loss and gradient agree with a trusted implementation (TRL 1.16) to 1e-5."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from learner_kit import Gradient
from transformers import Qwen3ForCausalLM

from agentrl.core import Episode, Group, Origin, Score, SegmentBuilder, Status, Task
from agentrl.learner import Learner, LearnerSettings, credit

FOLDER = Path(__file__).parents[1] / "data" / "golden"
GOLDEN = json.loads((FOLDER / "golden.json").read_text())
INPUTS = GOLDEN["inputs"]
RELATIVE = 1e-5

ALGORITHMS: dict[str, dict[str, Any]] = {
    "grpo": {"algorithm": "grpo"},
    "dapo": {
        "algorithm": "dapo",
        "coefficient": {"high": 0.2},
    },
    "dr_grpo": {
        "algorithm": "dr_grpo",
        "channels": {"outcome": {"scale": "std"}},
        "aggregation": {"constant": 48},
    },
}
ALGORITHMS["bnpo"] = ALGORITHMS["dapo"]  # one batch: the same token mean


def golden_groups() -> list[Group]:
    episodes = []
    for i, prompt in enumerate(INPUTS["prompt_ids"]):
        build = SegmentBuilder()
        build.append(prompt, Origin.PROMPT, -1)
        columns = (INPUTS["completion_ids"][i], INPUTS["tool_mask"][i], INPUTS["old_logprobs"][i])
        for token, sampled, logp in zip(*columns, strict=True):
            if sampled:
                build.append_sampled([token], [logp], [0], 0)
            else:
                build.append([token], Origin.OBSERVATION, 0)
        score = Score(INPUTS["rewards"][i])
        task = Task(id=str(i // 4), prompt="")
        episode = Episode(task, id=str(i), status=Status.COMPLETED, segments=[build.build()])
        episode.scores["reward"] = score
        episodes.append(episode)
    return [Group((g,), episodes[4 * g : 4 * g + 4]) for g in range(2)]


def golden_learner(name: str, policy: str, dtype: torch.dtype, **more: Any) -> Learner:
    model = Qwen3ForCausalLM.from_pretrained(FOLDER / "model", dtype=torch.float32).to(dtype)
    old = "current" if policy == "on-policy" else "behaviour"
    settings = LearnerSettings(
        **ALGORITHMS[name], ratio={"old": old, "correction": "none"}, min_shared=4, **more
    )
    return Learner(SimpleNamespace(model=model), settings)


@pytest.mark.parametrize("policy", ["on-policy", "off-policy"])
@pytest.mark.parametrize("name", ["grpo", "dapo", "dr_grpo", "bnpo"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_loss_and_gradient_match_trl(name: str, policy: str, dtype: torch.dtype) -> None:
    learner = golden_learner(name, policy, dtype, max_grad_norm=0.0)
    probe = Gradient(learner)
    out = learner.step(golden_groups())
    want = GOLDEN["results"][f"{name}/beta=0.0/{policy}"]
    assert out["loss"] == pytest.approx(want["loss"], rel=RELATIVE, abs=1e-6)
    assert out["grad_norm"] == pytest.approx(want["grad_norm"], rel=RELATIVE)
    for parameter, norm in want["grad_norm_per_param"].items():
        assert float(probe.by_name[parameter].norm()) == pytest.approx(norm, rel=RELATIVE)
    exact = want["ref64"]
    assert out["loss"] == pytest.approx(exact["loss"], rel=RELATIVE, abs=1e-6)
    assert out["grad_norm"] == pytest.approx(exact["grad_norm"], rel=RELATIVE)
    metrics = want["metrics"]
    assert out["entropy"] == pytest.approx(metrics["entropy"], rel=RELATIVE)
    assert out["clip_low"] == pytest.approx(metrics["clip_ratio/low_mean"], rel=RELATIVE)
    assert out["clip_high"] == pytest.approx(metrics["clip_ratio/high_mean"], rel=RELATIVE)


def test_logprobs_and_entropies_match_trl_token_by_token() -> None:
    learner = golden_learner("grpo", "on-policy", torch.float32)
    rows = learner._rows([e for g in golden_groups() for e in g.episodes])
    for batch in learner.looks.micro_batches(rows):
        logp, entropy = (x.detach().numpy() for x in learner.trunk.logprobs(batch))
        ends = np.cumsum([len(r.target) for r in batch.rows])[:-1]
        for name, values in (("logprobs", logp), ("entropy", entropy)):
            for row, got in zip(batch.rows, np.split(values, ends), strict=True):
                sampled = np.array(INPUTS["tool_mask"][row.episode], bool)
                want = np.array(GOLDEN[name][row.episode])[sampled]
                np.testing.assert_allclose(got, want, rtol=RELATIVE, atol=RELATIVE)


def test_advantages_match_trl() -> None:
    episodes, group = credit.judged_episodes(golden_groups())
    table = credit.turn_table(episodes, group)
    for scale, name in (("std", "group"), ("batch_std", "batch"), ("none", "none")):
        channels = LearnerSettings(channels={"outcome": {"scale": scale}}).channels
        got = credit.advantages(table, channels, whiten=False)
        np.testing.assert_allclose(got, GOLDEN["advantages"][name], rtol=RELATIVE)


@pytest.mark.parametrize("name", ["grpo", "dapo"])
def test_five_adamw_steps_match_trl(name: str) -> None:
    learner = golden_learner(name, "on-policy", torch.float32, learning_rate=1e-3)
    want = GOLDEN["five_steps"][name]
    for step in want["history"]:
        out = learner.step(golden_groups())
        assert out["grad_norm"] == pytest.approx(step["grad_norm"], rel=RELATIVE)
    parameters = dict(learner.policy.model.named_parameters())
    for parameter, norm in want["final_param_l2_per_param"].items():
        assert float(parameters[parameter].detach().norm()) == pytest.approx(norm, rel=RELATIVE)


class RecordedReference:
    """The reference log-probabilities of the golden file, in place of a reference model."""

    trunk = None

    def logprobs(self, batch: Any, power: Any = None) -> torch.Tensor:
        parts = []
        for row in batch.rows:
            mask = np.array(INPUTS["tool_mask"][row.episode], bool)
            parts.append(np.array(INPUTS["ref_logprobs"][row.episode])[mask])
        return torch.as_tensor(np.concatenate(parts))

    def follow(self) -> None:
        pass


@pytest.mark.parametrize("policy", ["on-policy", "off-policy"])
@pytest.mark.parametrize("kl", ["kl_plain", "kl_x_ratio"])
@pytest.mark.parametrize("name", ["grpo", "dapo", "dr_grpo", "bnpo"])
def test_kl_to_the_reference_matches_trl(name: str, kl: str, policy: str) -> None:
    term = {"estimator": "k3" if kl == "kl_plain" else "k3_ratio", "coefficient": 0.04}
    learner = golden_learner(
        name, policy, torch.float32, max_grad_norm=0.0, divergences={"kl": term}
    )
    learner.reference = learner.looks._reference = RecordedReference()  # type: ignore[assignment]
    out = learner.step(golden_groups())
    want = GOLDEN["results"][f"{name}/beta=0.04/{kl}/{policy}"]
    assert out["loss"] == pytest.approx(want["loss"], rel=RELATIVE)
    assert out["grad_norm"] == pytest.approx(want["grad_norm"], rel=RELATIVE)
    assert out["divergence_kl"] == pytest.approx(want["metrics"]["kl"], rel=RELATIVE)


def test_micro_batch_mean_of_bnpo_is_what_we_do_not_do() -> None:
    """bnpo divides each micro-batch by its own tokens: its result depends on the split. Ours
    does not, and equals the unsplit value."""
    whole = GOLDEN["results"]["bnpo/beta=0.0/off-policy"]
    assert abs(whole["accum2"]["loss"] / whole["loss"] - 1) > 1e-3
    learner = golden_learner(
        "bnpo", "off-policy", torch.float32, max_grad_norm=0.0, token_budget=60
    )
    out = learner.step(golden_groups())
    assert out["loss"] == pytest.approx(whole["loss"], rel=RELATIVE)
    assert out["grad_norm"] == pytest.approx(whole["grad_norm"], rel=RELATIVE)
