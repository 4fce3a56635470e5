"""`agentrl train` with vLLM in its process: every step's weights reach it, and it says the same."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from agentrl.models import Policy, save_policy
from agentrl.store import RunStore
from agentrl.training.config import load_config
from agentrl.training.loop import train

MODULE = '''
from agentrl import Environment, Score, Task


class Evens(Environment):
    """Rewards messages of an even number of characters."""

    def reset(self, task: Task):
        return task.prompt

    def finish(self, episode):
        return {"resolved": len(episode.turns[0].text) % 2 == 0}


class Even:
    name = "even"

    async def score(self, episode):
        return Score(float(episode.outcome["resolved"]))
'''
RUN_FILE = """\
model: policy
engine: {kind: vllm, enforce_eager: true, max_model_len: 512, block_size: 32, kv_cache_mb: 64}
environment: {kind: "evens_world:Evens", max_turns: 1, max_tokens: 300}
tasks: {train: train.jsonl}
reward: {kind: "evens_world:Even"}
sampling: {max_tokens: 24}
learner: {algorithm: grpo, group_size: 6, learning_rate: 1.0e-2}
train: {steps: 3, tasks_per_step: 2}
"""


def test_a_run_trains_on_vllm(
    old_policy: Policy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    save_policy(old_policy, tmp_path / "policy")
    Path("evens_world.py").write_text(MODULE, "utf-8")
    Path("run.yaml").write_text(RUN_FILE, "utf-8")
    tasks = [{"id": f"t{i}", "prompt": f"say {i}", "environment": "evens"} for i in range(4)]
    Path("train.jsonl").write_text("".join(json.dumps(t) + "\n" for t in tasks), "utf-8")
    result = train(load_config("run.yaml", ["run.dir=run"]))
    assert result.steps == 3
    with RunStore.open("run", read_only=True) as store:
        seen = []
        for step in (1, 2, 3):
            episodes = store.episodes(step=step, split="train")
            assert len(episodes) == 12
            parts = [s for e in episodes for s in e.segments]
            seen.append({int(v) for s in parts for v in s.weights[s.action_mask]})
    assert all(len(v) == 1 for v in seen)
    assert len(set.union(*seen)) == 3
    assert "vllm" in sys.modules
