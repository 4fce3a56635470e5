"""An episode with the tools of each published scaffold, from a run file, in real containers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from docker_marks import docker_test
from swe_pocket import write_pocket

from agentrl.core import AgentRLError, Episode, Task, ToolCall, Turn
from agentrl.core.taskfile import read_tasks
from agentrl.environments.swe import SynthSettings, synthesise
from agentrl.sandboxes import DockerPool
from agentrl.training.build import make_environments
from agentrl.training.config import RunConfig, load_config

SOURCE = "src/pocket/numbers.py"
RUN_FILE = """
run: {{dir: {folder}/run}}
model: {{path: nowhere}}
engine: {{kind: scripted, script: "m:C"}}
environment: {{kind: swe, tools: {tools}, sandbox: {{kind: docker, pool: 1, spare: 0}}}}
tasks: {{train: {folder}/tasks.jsonl}}
reward: {{kind: tests_pass}}
"""
WRONG, RIGHT = "    if value < high:\n", "    if value > high:\n"
SED = "sed -i 's/value < high/value > high/'"
PYTEST = "python3 -m pytest -q -c /dev/null --rootdir . tests/test_numbers.py -k test_clamp"
COMPLETE = "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT"


def bash(command: str) -> ToolCall:
    return ToolCall("bash", {"command": command})


def execute(command: str) -> ToolCall:
    return ToolCall("execute_bash", {"command": command})


def edit(command: str, **more: Any) -> ToolCall:
    return ToolCall("str_replace_editor", {"command": command, "path": SOURCE, **more})


# (call, a piece of its answer)
SCRIPTS = {
    "mini-swe-agent": [
        (bash("cd src && grep -n 'value < high' pocket/numbers.py"), "<returncode>0</returncode>"),
        (bash(f"{SED} {SOURCE} && {PYTEST}"), " passed"),
        (bash(COMPLETE), "submitted"),
    ],
    "swe-agent": [
        (edit("view"), WRONG),
        (edit("str_replace", old_str="value > high", new_str="x"), "error: "),
        (edit("str_replace", old_str=WRONG, new_str=RIGHT), RIGHT),
        (bash(PYTEST), " passed"),
        (ToolCall("submit", {}), ""),
    ],
    "openhands": [
        (ToolCall("think", {"thought": "the upper bound"}), "noted"),
        (execute("cd src/pocket; file=numbers.py"), ""),
        (execute(f"{SED} $file; cd -; {PYTEST}"), " passed"),
        (ToolCall("finish", {"message": "done"}), "submitted"),
    ],
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def folder(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Path]:
    folder = tmp_path_factory.mktemp("scaffolds")
    write_pocket(folder / "source")
    settings = SynthSettings(
        count=1000, per_function=1000, operators=("comparison",), max_test_seconds=0.1, repeats=2
    )
    async with DockerPool(size=2, spare=0) as pool:
        await synthesise([str(folder / "source")], folder / "all.jsonl", pool, settings)
    lines = (folder / "all.jsonl").read_text().splitlines()
    wanted = next(
        line
        for line, task in zip(lines, read_tasks(folder / "all.jsonl"), strict=True)
        if task.reference["location"]["old"] == ">" and task.metadata["function"].endswith("clamp")
    )
    (folder / "tasks.jsonl").write_text(wanted + "\n")
    yield folder


def config(folder: Path, tools: str) -> RunConfig:
    path = folder / "run.yaml"
    path.write_text(RUN_FILE.format(folder=folder, tools=tools))
    return load_config(path)


async def episode(folder: Path, name: str) -> tuple[Episode, dict[str, Any]]:
    task: Task = read_tasks(folder / "tasks.jsonl")[0]
    done = Episode(task)
    async with make_environments(config(folder, name)) as make:
        environment = make()
        await environment.reset(task)
        try:
            for number, (call, _) in enumerate(SCRIPTS[name]):
                calls = [ToolCall(call.name, call.arguments, id=str(number))]
                none = np.zeros(0)
                done.turns.append(Turn(none.astype(np.int32), none, "", calls=calls))
                observed = await environment.step(done.turns[-1])
                assert observed.done == (number == len(SCRIPTS[name]) - 1)
            return done, await environment.finish(done)
        finally:
            await environment.close()


@docker_test
@pytest.mark.parametrize("name", SCRIPTS)
async def test_a_scripted_repair_with_a_scaffolds_tools_resolves(folder: Path, name: str) -> None:
    done, outcome = await episode(folder, name)
    for turn, (_, answer) in zip(done.turns, SCRIPTS[name], strict=True):
        assert answer in turn.results[0].text
    assert outcome["submitted"]
    assert (outcome["resolved"], outcome["grading"], outcome["flags"]) == (True, "tests", [])


def test_a_wrong_name_is_told_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(AgentRLError, match="openhands"):
        config(tmp_path, "open-hands")
