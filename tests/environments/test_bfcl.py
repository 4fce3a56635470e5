"""The leaderboard's multi-turn tasks through our environment, judged by its package's own checker.

The package is fetched without its dependencies (they pin other versions of ours); what is run of
it needs none but mpmath.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from small_kit import said

from agentrl.core import ConfigError, Task, ToolCall
from agentrl.environments.simulated.bfcl import (
    CATEGORIES,
    as_python,
    bfcl_environment,
    bfcl_tasks,
    package,
    parse_call,
)
from agentrl.episodes import dialect

CALLS = {"base": 1142, "miss_func": 1140, "miss_param": 1140, "long_context": 1203}
DIALECT = dialect("pythonic")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("bfcl")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(target)]
    subprocess.run([*pip, "bfcl-eval==2026.3.23"], check=True)
    return target


async def replay(folder: Path, task: Task) -> list[list[list[str]]]:
    """Play the right calls as text of a policy, one a message; what our tools were called with."""
    environment = bfcl_environment(folder)()
    await environment.reset(task)
    made = []
    for number, calls in enumerate(task.reference["turns"]):
        steps = []
        for plain in calls:
            text = DIALECT.format([ToolCall(plain["name"], plain["arguments"])])
            turn = said(text, *DIALECT.parse(text))
            await environment.step(turn)
            assert turn.results[0].ok, (task.id, text, turn.results[0].text)
            steps.append([as_python(turn.calls[0])])
        made.append(steps)
        observation = await environment.step(said("done"))
        assert observation.done is (number == len(task.reference["turns"]) - 1)
    return made


def checked(task: Task, made: list[list[list[str]]], who: str) -> bool:
    from bfcl_eval.eval_checker.multi_turn_eval.multi_turn_checker import multi_turn_checker

    entry: dict[str, Any] = {
        "id": task.id,
        "initial_config": task.payload["config"],
        "involved_classes": task.payload["classes"],
    }
    truth = task.reference["ground_truth"]
    return bool(multi_turn_checker(made, truth, entry, "multi_turn", who)["valid"])


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("category", CATEGORIES)
async def test_the_package_s_checker_agrees_on_every_replay(folder, category):
    tasks = calls = 0
    for task in bfcl_tasks(folder, category):
        made = await replay(folder, task)
        tasks += 1
        calls += sum(map(len, made))
        assert checked(task, made, "whole"), task.id
        last = max(i for i, steps in enumerate(made) if steps)
        cut = [steps[:-1] if i == last else steps for i, steps in enumerate(made)]
        assert not checked(task, cut, "cut"), task.id
    assert (tasks, calls) == (200, CALLS[category])


async def test_what_the_policy_does_wrong_is_an_observation(folder):
    (task, *_) = bfcl_tasks(folder)
    environment = bfcl_environment(folder)()
    await environment.reset(task)
    turn = said("", ToolCall("cd", {"nowhere": 1}), ToolCall("fly", {}))
    await environment.step(turn)
    assert [r.error for r in turn.results] == ["raised", "unknown_tool"]


def test_calls_are_read_without_running_them(folder):
    package(folder)
    assert parse_call("sort('a.txt')", ["GorillaFileSystem"])["arguments"] == {"file_name": "a.txt"}
    for text in ("cd(open('x'))", "cd", "a.cd()", "cd("):
        with pytest.raises(ConfigError, match="not a call of plain values"):
            parse_call(text, ["GorillaFileSystem"])
