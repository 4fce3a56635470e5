from __future__ import annotations

import json
from pathlib import Path

import pytest

from agentrl.models import save_policy, tiny_policy, train_tokenizer

RUN_FILE = """\
model: policy
environment: {kind: "fault_world:Plain", max_turns: 2, max_tokens: 400}
tasks: {train: tasks.jsonl, eval: tasks.jsonl}
reward: {kind: "fault_world:Zero"}
sampling: {max_tokens: 8}
train: {steps: 1, tasks_per_step: 1}
learner: {group_size: 2}
run: {dir: run}
"""

MODULE = """\
from agentrl import Environment, Score


class Plain(Environment):
    def __init__(self, sandboxes=None):
        self.sandboxes = sandboxes


class Zero:
    name = "zero"

    async def score(self, episode):
        return Score(0.0)
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory holds all that `agentrl train run.yaml` needs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fault_world.py").write_text(MODULE)
    (tmp_path / "run.yaml").write_text(RUN_FILE)
    (tmp_path / "tasks.jsonl").write_text(json.dumps({"id": "a", "prompt": "go"}) + "\n")
    tokenizer = train_tokenizer(["go on"], 280)
    sizes = {"hidden": 32, "layers": 1, "heads": 2, "kv_heads": 1, "head_dim": 16}
    save_policy(tiny_policy(tokenizer, **sizes), tmp_path / "policy")
    return tmp_path
