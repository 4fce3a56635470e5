"""Task folders of Harbor and Terminal-Bench, in real containers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from docker_marks import docker_test

from agentrl.core import Episode, Task, TaskFileError, ToolCall, Turn
from agentrl.environments.harbor import (
    HarborEnvironment,
    load_folder,
    load_folders,
    ready_image,
    solved,
    vet_folder,
)
from agentrl.environments.harbor.folder import HarborPayload, HarborReference
from agentrl.environments.images import ImagePools, docker_images
from agentrl.sandboxes import DockerEngine, Limits, ensure_image

TOML = """\
schema_version = "1.1"
[task]
name = "octo/count"
[metadata]
difficulty = "easy"
[verifier]
timeout_sec = 20.0
env = {{ WANTED = "3" }}
[agent]
timeout_sec = {seconds}
[environment]
build_timeout_sec = 120.0
cpus = 1
memory = "2G"
network_mode = "no-network"
"""
TEST = """\
#!/bin/bash
if [ "$(cat answer.txt)" = "$WANTED" ] && [ -f /tests/data.txt ]; then
  echo 1 > /logs/verifier/reward.txt
else
  echo 0.25 > /logs/verifier/reward.txt
fi
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pools() -> AsyncIterator[ImagePools]:
    async with docker_images(size=2, spare=0, limits=Limits(memory_mb=256, work_mb=32)) as pools:
        yield pools


@pytest.fixture(scope="module")
def base() -> str:
    engine = DockerEngine()
    try:
        return ensure_image(engine=engine)
    finally:
        engine.close()


def write(folder: Path, files: dict[str, str]) -> Path:
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


def harbor(folder: Path, base: str = "x", seconds: float = 60.0, test: str = TEST) -> Path:
    docker = f"FROM {base}\nWORKDIR /app\nRUN printf 'a\\nb\\nc\\n' > lines.txt\n"
    return write(folder, {
        "task.toml": TOML.format(seconds=seconds),
        "instruction.md": "Write the number of lines of lines.txt to answer.txt.\n",
        "environment/Dockerfile": docker,
        "tests/test.sh": test,
        "tests/data.txt": "hidden",
        "solution/solve.sh": "wc -l < lines.txt > answer.txt\n",
    })  # fmt: skip


async def run(pools: ImagePools, task: Task, *commands: str, **options: Any) -> tuple[dict, list]:
    environment = HarborEnvironment(pools, **options)
    episode = Episode(task)
    try:
        await environment.reset(task)
        for command in commands:
            call = ToolCall("shell", {"command": command}, id="0")
            episode.turns.append(Turn(np.zeros(0, np.int32), np.zeros(0, np.float32), "", [call]))
            observation = await environment.step(episode.turns[-1])
            if observation.done:
                break
        said = [t.results[0].text for t in episode.turns if t.results]
        return await environment.finish(episode), said
    finally:
        await environment.close()


@docker_test
async def test_an_episode_is_judged_by_the_reward_file_in_another_container(pools, base, tmp_path):
    task = load_folder(harbor(tmp_path, base))
    assert (task.id, task.metadata["difficulty"]) == ("octo/count", "easy")
    look = "ls /tests /logs /solution 2>&1; pwd; cat lines.txt"
    good, said = await run(pools, task, look, "wc -l < lines.txt > answer.txt")
    assert (good["reward"], good["resolved"], good["grading"]) == (1.0, True, "tests")
    assert "data.txt" not in said[0]
    assert "solve.sh" not in said[0]
    assert "/app" in said[0]
    assert good["network"] == "none (the task asks for no-network)"
    bad, _ = await run(pools, task, "echo 4 > answer.txt")
    assert (bad["reward"], bad["resolved"]) == (0.25, False)


@docker_test
async def test_the_agent_cannot_leave_a_reward_a_process_or_tests_behind(pools, base, tmp_path):
    task = load_folder(harbor(tmp_path, base))
    attack = (
        "mkdir -p /tmp/harbor/logs/verifier /tmp/harbor/tests; "
        "echo 1 > /logs/verifier/reward.txt; echo 'exit 0' > /tests/test.sh; "
        "(setsid sh -c 'while :; do echo 1 > /logs/verifier/reward.txt; sleep 0.1; done' "
        ">/dev/null 2>&1 &) ; true"
    )
    outcome, _ = await run(pools, task, attack)
    assert (outcome["reward"], outcome["resolved"]) == (0.25, False)
    assert any(flag.startswith("edits_grader") for flag in outcome["flags"])


@docker_test
async def test_the_tasks_own_solution_is_judged_and_nothing_is_not_enough(pools, base, tmp_path):
    task = load_folder(harbor(tmp_path, base))
    payload = HarborPayload.model_validate(task.payload)
    reference = HarborReference.model_validate(task.reference)
    ready = await ready_image(payload)
    lender = await pools.of_image(ready.tag, ready.workdir)
    found = await solved(lender, payload, reference, ready.workdir)
    assert (found.reward, found.grading) == (1.0, "tests")
    assert (await run(pools, task))[0]["reward"] == 0.25
    vetted = await vet_folder(task, pools, runs=2)
    assert (vetted.holds, vetted.gold_passed) == (True, 2), vetted.reasons
    easy = load_folder(harbor(tmp_path / "easy", base, test="echo 1 > /logs/verifier/reward.txt"))
    vetted = await vet_folder(easy, pools, runs=1)
    assert vetted.reasons == ["the untouched working directory earns the reward"]
    hard = load_folder(harbor(tmp_path / "hard", base, test="echo 0 > /logs/verifier/reward.txt"))
    vetted = await vet_folder(hard, pools, runs=1)
    assert vetted.reasons[0].startswith("the solution earned 0.0, not 1")


@docker_test
@pytest.mark.parametrize(
    ("test", "reward", "grading"),
    [
        ('echo \'{"reward": 0.5, "speed": 3}\' > /logs/verifier/reward.json', 0.5, "tests"),
        ('echo \'{"a": 1, "b": 0}\' > /logs/verifier/reward.json', 0.5, "tests"),
        ("echo nonsense > /logs/verifier/reward.txt", None, "no_reward"),
        ("echo nan > /logs/verifier/reward.txt", None, "no_reward"),
        ("exit 0", None, "no_reward"),
    ],
)
async def test_reward_files_of_every_kind(pools, base, tmp_path, test, reward, grading):
    outcome, _ = await run(pools, load_folder(harbor(tmp_path, base, test=test)))
    assert (outcome["reward"], outcome["grading"]) == (reward, grading)
    assert not outcome["resolved"]


@docker_test
async def test_both_time_outs_are_kept(pools, base, tmp_path):
    task = load_folder(harbor(tmp_path / "a", base, seconds=30.0))
    now = [0.0]
    environment = HarborEnvironment(pools, clock=lambda: now[0])
    try:
        await environment.reset(task)
        now[0] = 31.0
        turn = Turn(np.zeros(0, np.int32), np.zeros(0, np.float32), "", [ToolCall("shell", {})])
        observation = await environment.step(turn)
        assert observation.done
        assert turn.results == []
    finally:
        await environment.close()
    slow = load_folder(harbor(tmp_path / "b", base, test="sleep 60"))
    slow.reference["verifier_seconds"] = 1.0
    outcome, _ = await run(pools, slow)
    assert (outcome["reward"], outcome["grading"]) == (None, "timeout")


@docker_test
async def test_terminal_bench_folders_are_judged_by_the_exit_code(pools, base, tmp_path):
    folder = write(tmp_path / "tb", {
        "task.yaml": "instruction: |-\n  Write 3 to answer.txt.\ndifficulty: easy\n"
        "max_agent_timeout_sec: 90\nmax_test_timeout_sec: 20\n",
        "Dockerfile": f"FROM {base}\nWORKDIR /app\nCOPY . /app/context\n",
        "run-tests.sh": "python3 $TEST_DIR/check.py\n",
        "tests/check.py": "assert open('answer.txt').read().strip() == '3'\n",
        "solution.sh": "echo 3 > answer.txt\n",
    })  # fmt: skip
    task = load_folder(folder)
    assert task.payload["agent_seconds"] == 90
    good, said = await run(pools, task, "ls -R context", "echo 3 > answer.txt")
    assert good["resolved"]
    assert "check.py" not in said[0], "tests in the image"
    assert not (await run(pools, task, "echo 4 > answer.txt"))[0]["resolved"]


def test_settings_are_read_and_what_is_wrong_is_named(tmp_path: Path):
    task = load_folder(harbor(tmp_path / "a"))
    assert task.payload["memory_mb"] == 2048
    assert task.payload["network"] == "no-network"
    assert (task.payload["agent_seconds"], task.reference["verifier_seconds"]) == (60.0, 20.0)
    assert task.prompt.startswith("Write the number")
    assert "tests" not in task.payload
    (tmp_path / "a/task.toml").write_text("[agent]\ntimeout_sec = -1\n")
    with pytest.raises(TaskFileError, match="agent_seconds"):
        load_folder(tmp_path / "a")
    (tmp_path / "a/task.toml").write_text("[environment]\nallow_internet = false\n")
    assert load_folder(tmp_path / "a").payload["network"] == "no-network"
    (tmp_path / "a/tests/test.sh").unlink()
    with pytest.raises(TaskFileError, match=r"no tests/test\.sh"):
        load_folder(tmp_path / "a")
    (tmp_path / "b").mkdir()
    with pytest.raises(TaskFileError, match="no task folder"):
        load_folders(tmp_path / "b")
