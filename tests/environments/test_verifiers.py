"""Environments of the `verifiers` package, the real one, in a process of their own."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentrl.core import Episode, InfraError, Status, Task
from agentrl.engines import ScriptedEngine
from agentrl.environments.verifiers import RubricReward, VerifiersHost
from agentrl.episodes import Limits, dialect
from agentrl.episodes.gateway import AgentRunner, Gateway
from agentrl.episodes.gateway.session import Voice
from agentrl.models import builtin_template, train_tokenizer
from agentrl.models.tokenizer import ChatTokenizer

pytestmark = pytest.mark.timeout(1200)  # wall time of foreign imports where many share the cores
PACKAGES = (
    "verifiers==0.1.9",
    "openai-agents==0.6.4",
    "griffe==1.14.0",
    "colorama",
    "nest-asyncio",
)
SUMS = '''
import os
import verifiers as vf
from datasets import Dataset

def add(a: int, b: int) -> int:
    """Add two numbers.

    Args:
        a: one.
        b: the other.
    """
    if a > 99:
        os._exit(3)
    return a + b

def right(completion, answer, **_):
    return float(answer in completion[-1]["content"])

def load_environment(count: int = 2):
    rows = [{"question": f"What is {i} + 1?", "answer": str(i + 1)} for i in range(count)]
    rubric = vf.Rubric(funcs=[right])
    print("printed by the environment")
    data = Dataset.from_list(rows)
    return vf.ToolEnv(tools=[add], dataset=data, rubric=rubric, system_prompt="Add.", max_turns=4)
'''


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("verifiers")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(target)]
    subprocess.run([*pip, *PACKAGES], check=True)
    (target / "sums_env.py").write_text(SUMS)
    return target


def call(a: int) -> str:
    return f'<tool_call>\n{{"name": "add", "arguments": {{"a": {a}, "b": 1}}}}\n</tool_call>'


async def play(host: VerifiersHost, task: Task, *says: str, turns: int = 8) -> Episode:
    def script(seed: int) -> Iterator[str]:
        yield ""
        for text in (*says, "no more"):
            _ = yield text

    tokenizer = ChatTokenizer(train_tokenizer([""], 300), builtin_template("compact"))
    voice = Voice(ScriptedEngine(script, tokenizer), tokenizer, dialect("hermes"), Limits(turns))
    async with Gateway(voice) as gateway:
        return await AgentRunner(gateway, host.run, RubricReward()).run(task, 0)


async def test_a_tool_environment_runs_is_judged_and_dies(packages: Path) -> None:
    variables = {**os.environ, "PYTHONPATH": str(packages)}
    host = VerifiersHost("sums-env", {"count": 3}, variables=variables)
    try:
        tasks = await host.tasks()
        assert [t.prompt for t in tasks] == [f"What is {i} + 1?" for i in range(3)]
        right, wrong, cut = await asyncio.gather(
            play(host, tasks[1], call(1), "It is 2."),
            play(host, tasks[2], "It is 7."),
            play(host, tasks[2], call(2), call(2), "never said", turns=2),
        )
        assert [t.text for t in right.turns] == [call(1), "It is 2."]
        assert [m.content for m in right.turns[0].observations] == ["2"]
        assert "Add." in right.prompt[0].content
        assert (right.reward, wrong.reward) == (1.0, 0.0)
        assert {c.name: c.value for c in right.scores["reward"].checks}["add_calls"] == 1
        assert (right.segments[0].origin == 1).sum() > 0
        assert (cut.status, cut.judged, cut.reward) == (Status.MAX_TURNS, True, 0.0)
        dead = await play(host, tasks[0], call(100), "never said")
        assert (dead.status, dead.cause) == (Status.INFRA_ERROR, "environment_lost")
        again = await play(host, tasks[0], "It is 1.")
        assert again.reward == 1.0
    finally:
        await host.close()


async def test_an_interpreter_that_is_none_is_told() -> None:
    with pytest.raises(InfraError, match="cannot start /no/such/python"):
        await VerifiersHost("x", python="/no/such/python").tasks()
