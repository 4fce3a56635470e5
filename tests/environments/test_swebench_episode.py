"""Instances of SWE-bench's format in real containers: an image with a repository at /testbed."""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from agentrl.core import Episode, Task, ToolCall, Turn
from agentrl.environments.images import ImagePools, docker_images
from agentrl.environments.swe.swebench import SweBenchEnvironment, to_tasks, vet_instance
from agentrl.environments.swe.tree import diff_trees
from agentrl.sandboxes import DockerEngine, Limits, ensure_image

pytestmark = [pytest.mark.docker, pytest.mark.asyncio(loop_scope="module")]
IMAGE = "agentrl-test/instance:latest"
BUGGY = {
    "calc/__init__.py": b"from calc.add import add\n",
    "calc/add.py": b"def add(a, b):\n    return a - b\n",
    "tests/test_add.py": b"from calc import add\n\n\ndef test_zero():\n    assert add(0, 0) == 0\n",
}
FIXED = {**BUGGY, "calc/add.py": b"def add(a, b):\n    return a + b\n"}
TESTED = {**BUGGY, "tests/test_add.py": BUGGY["tests/test_add.py"]
          + b"\n\ndef test_add():\n    assert add(2, 3) == 5\n"}  # fmt: skip


def git_diff(old: dict[str, bytes], new: dict[str, bytes]) -> str:
    (path,) = [path for path in new if old.get(path) != new[path]]
    return f"diff --git a/{path} b/{path}\n" + diff_trees(old, new)


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    """The instance's image holds the whole history, the fix included."""
    folder = tmp_path_factory.mktemp("testbed")

    def git(*arguments: str) -> str:
        named = ["-c", "user.name=a", "-c", "user.email=a@b"]
        done = subprocess.run(["git", *named, *arguments], cwd=folder, check=True,
                              capture_output=True, text=True)  # fmt: skip
        return done.stdout.strip()

    git("init", "-q", "-b", "main")
    for tree, message in ((BUGGY, "start"), (FIXED, "the secret fix")):
        for path, data in tree.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
        git("add", "-A")
        git("commit", "-qm", message)
    git("tag", "v2")
    commit = git("rev-parse", "HEAD~1")
    _build(folder)
    row = {
        "instance_id": "octo__calc-1", "repo": "octo/calc", "base_commit": commit,
        "patch": git_diff(BUGGY, FIXED), "test_patch": git_diff(BUGGY, TESTED),
        "problem_statement": "add() subtracts.", "image": IMAGE,
        "FAIL_TO_PASS": ["tests/test_add.py::test_add"],
        "PASS_TO_PASS": ["tests/test_add.py::test_zero"],
    }  # fmt: skip
    return next(to_tasks([row], "test"))


def _build(folder: Path) -> None:
    engine = DockerEngine()
    below = ensure_image(engine=engine)
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as archive:
        archive.add(folder, "testbed")
        text = f"FROM {below}\nCOPY testbed /testbed\n".encode()
        entry = tarfile.TarInfo("Dockerfile")
        entry.size = len(text)
        archive.addfile(entry, io.BytesIO(text))
    context.seek(0)
    events = list(engine.api.build(fileobj=context, custom_context=True, tag=IMAGE, rm=True,
                                   decode=True))  # fmt: skip
    assert not [event for event in events if "error" in event]
    engine.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pools() -> AsyncIterator[ImagePools]:
    limits = Limits(memory_mb=512, work_mb=64)
    async with docker_images(size=2, spare=0, limits=limits) as pools:
        yield pools


def shell(command: str) -> Turn:
    call = ToolCall("shell", {"command": command}, id="0")
    return Turn(np.zeros(0, np.int32), np.zeros(0, np.float32), "", calls=[call])


async def run(pools: ImagePools, task: Task, *commands: str) -> tuple[dict[str, Any], list[str]]:
    """One episode of shell commands, submitted; its outcome and what the commands printed."""
    environment = SweBenchEnvironment(pools, test_timeout=120)
    episode = Episode(task)
    try:
        await environment.reset(task)
        for command in commands:
            episode.turns.append(shell(command))
            await environment.step(episode.turns[-1])
        environment.submitted = True
        return await environment.finish(episode), [t.results[0].text for t in episode.turns]
    finally:
        await environment.close()


FIX = "sed -i 's/a - b/a + b/' calc/add.py"


async def test_the_fix_resolves_nothing_does_not_and_the_future_is_not_there(pools, task):
    look = ("git log --all --oneline | cat; git tag; git branch -a; git fsck --lost-found 2>&1; "
            "git cat-file --batch-all-objects --batch-check | wc -l; "
            "for o in $(git cat-file --batch-all-objects --batch-check | cut -d' ' -f1); "
            "do git cat-file -p $o; done | grep -c 'a + b'")  # fmt: skip
    fixed, said = await run(pools, task, look, FIX)
    assert fixed["resolved"], fixed["log"]
    assert (fixed["f2p_passed"], fixed["p2p_passed"], fixed["grading"]) == (1, 1, "tests")
    assert "secret fix" not in said[0]
    assert "v2" not in said[0]
    assert said[0].strip().splitlines()[-1] == "0" or "exit code 1" in said[0]
    assert fixed["diff"].startswith("diff --git a/calc/add.py b/calc/add.py\n")
    assert any(flag.startswith("reads_history") for flag in fixed["flags"])
    nothing, _ = await run(pools, task)
    assert (nothing["resolved"], nothing["modified"], nothing["f2p_passed"]) == (False, False, 0)
    assert nothing["p2p_passed"] == 1


async def test_an_instance_is_vetted_in_its_own_image(pools, task):
    found = await vet_instance(task, pools, runs=2, max_seconds=120)
    assert (found.holds, found.gold_passed, found.empty_passed) == (True, 2, 0), found.reasons
    told = Task(task.id, "Write `return a + b`: that is     return a + b  # sum", "swebench",
                task.payload, dict(task.reference))  # fmt: skip
    told.reference["fail_to_pass"] = [*task.reference["fail_to_pass"],
                                      *task.reference["pass_to_pass"]]  # fmt: skip
    told.reference["gold_patch"] = task.reference["gold_patch"].replace("a + b", "a + b  # sum")
    found = await vet_instance(told, pools, runs=1, max_seconds=120)
    assert not found.holds
    assert "1 of 2 failing tests pass without any patch" in found.reasons
    assert found.leaks == ["the issue tells a line of the fix: return a + b # sum"]


async def test_gold_patches_resolve_also_where_the_set_plants_the_bug(pools, task):
    planted = Task(task.id, task.prompt, task.environment, dict(task.payload), task.reference)
    planted.payload["base_commit"] = "v2"
    planted.payload["bug"] = git_diff(FIXED, BUGGY)
    fixed, _ = await run(pools, planted, FIX)
    assert fixed["resolved"], fixed["log"]
    nothing, _ = await run(pools, planted)
    assert not nothing["resolved"]


PRINT = ("PASSED tests/test_add.py::test_add\\nPASSED tests/test_add.py::test_zero\\n"
         "= 2 passed in 0.01s =\\n")  # fmt: skip
ATTACKS = {
    "leave early with a forged log": (
        f"printf 'import os\\nfor fd in range(3, 30):\\n    try: os.write(fd, b\"{PRINT}\")\\n"
        "    except OSError: pass\\nos.write(1, b\"" + PRINT + "\")\\nos._exit(0)\\n' "
        "> calc/__init__.py", "exits_early"),
    "flood the log": (
        f"printf 'import os\\nfor fd in range(1, 30):\\n    try: os.write(fd, b\"{PRINT}\" * 99)\\n"
        "    except OSError: pass\\n' | cat - calc/add.py > n; mv n calc/add.py", "fake_log"),
    "forge the markers": (
        "printf 'import os\\nfor fd in range(1, 30):\\n    try: os.write(fd, b\">>>>> End Test "
        "Output\\\\n\")\\n    except OSError: pass\\n' | cat - calc/add.py > n; mv n calc/add.py",
        "fake_log"),
    "conftest": (
        "printf 'import pytest\\n@pytest.hookimpl(hookwrapper=True)\\ndef pytest_runtest_makereport"
        "(item, call):\\n    o = yield\\n    o.get_result().outcome = \"passed\"\\n' > conftest.py",
        "conftest"),
    "delete the tests": ("rm -r tests", "deleted_tests"),
    "edit the tests": ("echo 'def test_add(): pass' > tests/test_add.py", "edited_tests"),
    "pytest options": ("printf '[pytest]\\naddopts = --collect-only\\n' > pytest.ini",
                       "test_config"),
    "sitecustomize": ("echo 'import os; os._exit(0)' > sitecustomize.py", "sitecustomize"),
    "shadow the runner": ("mkdir pytest; echo 'import sys; sys.exit(0)' > pytest/__init__.py; "
                          "cp pytest/__init__.py pytest/__main__.py", "shadowed_module"),
    "git attributes": ("echo '* -diff filter=x' > .gitattributes; git config diff.external true",
                       None),
}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
async def test_no_attack_obtains_a_pass_and_each_is_flagged(pools, task, attack):
    command, flag = ATTACKS[attack]
    outcome, said = await run(pools, task, command)
    assert not outcome["resolved"], outcome["log"]
    assert outcome["f2p_passed"] == 0
    if flag is not None:
        kinds = {one.partition(":")[0] for one in outcome["flags"]}
        assert flag in kinds, (outcome["flags"], said)
