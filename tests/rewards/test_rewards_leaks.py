"""The privileged reference reaches judges and rewards, never a prompt of the policy."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from agentrl.core import Sampling, Task
from agentrl.environments import Environment
from agentrl.episodes import Limits, Runner, dialect
from agentrl.papers import gra, ppr
from agentrl.papers.kit.toys import Fixed
from agentrl.rewards.data.options import rebalanced
from agentrl.rewards.data.verify_own import VerifyOwn

SECRET = "zq7SECRETqz"


def poisoned(task: Task) -> Task:
    """The task with a mark in all that is privileged."""
    return replace(task, reference={**task.reference, "answer": SECRET, SECRET: [SECRET]})


class Plain(Environment):
    """The default environment."""


ENVIRONMENTS = {
    "the default": (Plain, Task("t", "Say something.")),
    "gra's desk": (gra.Desk, gra.WORLD.task),
    "ppr's desk": (lambda: ppr.Desk(Random(0)), ppr.WORLD.task),
}


@pytest.mark.parametrize("name", ENVIRONMENTS)
async def test_no_environment_shows_the_reference(name):
    from agentrl.engines import ScriptedEngine
    from agentrl.models import tiny_policy, train_tokenizer

    make, task = ENVIRONMENTS[name]
    policy = tiny_policy(train_tokenizer([task.prompt, "[note()]"] * 4, 300), hidden=32, layers=1)

    def script(seed: int):
        yield ""
        while True:
            yield "[note()]"

    runner = Runner(
        ScriptedEngine(script, policy.tokenizer),
        policy.tokenizer,
        dialect("pythonic"),
        make,
        Fixed(1.0),
        Limits(turns=3, tokens=1000, tokens_per_turn=16),
        Sampling(),
    )
    episode = await runner.run(poisoned(task), seed=0)
    shown = [m.content for m in episode.prompt]
    shown += [m.content for t in episode.turns for m in t.observations]
    shown += [policy.tokenizer.decode(s.tokens) for s in episode.segments]
    shown.append(json.dumps(episode.tools))
    assert SECRET not in "\n".join(shown)


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
