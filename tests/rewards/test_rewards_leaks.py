"""The privileged reference reaches judges and rewards, never a task made for the policy.

What environments show is looked at in tests/environments/test_leaks.py.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from random import Random

from agentrl.core import Task
from agentrl.rewards.data.options import rebalanced
from agentrl.rewards.data.verify_own import VerifyOwn

SECRET = "zq7SECRETqz"


def test_tasks_made_of_tasks_keep_the_reference_to_themselves(rewards_kit):
    solved = rewards_kit.episode(["my solution"], reference={"answer": SECRET}, reward=1.0)
    assert SECRET not in VerifyOwn().task_of(solved).prompt
    choice = Task(
        "c", "pick", payload={"options": ["a", "b"]}, reference={"answer": "A", "why": SECRET}
    )
    (turned,) = rebalanced([choice], Random(0))
    assert SECRET not in turned.prompt + json.dumps(turned.payload)


def test_no_code_of_a_model_is_run_here():
    """`exec` and `eval` on text: nowhere in the room. What is written runs in a sandbox."""
    root = Path(__file__).parents[2] / "rewards"
    found = [
        f"{path.name}: {line.strip()}"
        for path in root.rglob("*.py")
        for line in path.read_text("utf-8").splitlines()
        if re.search(r"(?<![\w.])(exec|eval|compile)\(", line)
    ]
    assert found == []
