"""What makes a task unfit: each fault is planted into a good task and must be named."""

from __future__ import annotations

import copy
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from docker_marks import docker_test
from release_pair import write_release

from agentrl.core import Task
from agentrl.core.taskfile import read_tasks, write_tasks
from agentrl.environments.images import ImagePools, docker_images
from agentrl.environments.swe.leaks import added_lines, leaks_in_files
from agentrl.environments.swe.releases.history import read_release
from agentrl.environments.swe.releases.make import ReleaseSettings, tasks_of_pair
from agentrl.environments.swe.sets import (
    decontaminate,
    deduplicate,
    repository,
    split_by_repository,
)
from agentrl.environments.swe.task import SweTask
from agentrl.environments.swe.tree import diff_trees, digest, pack, unpack
from agentrl.environments.swe.vetting import report_file, vet, write_report


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pools() -> AsyncIterator[ImagePools]:
    async with docker_images(size=2, spare=0) as pools:
        yield pools


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def good(pools: ImagePools, tmp_path_factory: pytest.TempPathFactory) -> Task:
    folder = tmp_path_factory.mktemp("vetting")
    old = read_release(write_release(folder / "old", "1.2"), "wordy")
    new = read_release(write_release(folder / "new", "1.3"), "wordy")
    settings = ReleaseSettings(repeats=2, split=False)
    (task,) = await tasks_of_pair(old, new, folder / "t.jsonl", pools, settings)
    return task


def changed(task: Task, **files: bytes) -> Task:
    """The task with other files in its archive."""
    other = copy.deepcopy(task)
    folder = Path(task.metadata["folder"])
    tree = unpack((folder / task.payload["archive"]).read_bytes())
    before = SweTask(task)
    new = {name.replace("__", "/") + ".py": text for name, text in files.items()}
    tree |= new
    other.payload |= {"repo": digest(tree), "archive": f"repos/{digest(tree)}.tar.gz"}
    base = {path: new.get(path, data) for path, data in before.base.items()}
    other.payload["shown"] = diff_trees(
        {**tree, "wordy/__init__.py": before.buggy["wordy/__init__.py"]}, base
    )
    (folder / other.payload["archive"]).write_bytes(pack(tree))
    return other


@docker_test
async def test_a_good_task_holds_and_the_report_stands_beside_it(pools, good, tmp_path: Path):
    found = await vet(good, pools, runs=2)
    assert found.holds, found.reasons
    assert found.seconds > 0
    path = tmp_path / "tasks.jsonl"
    write_tasks(path, [good])
    write_report(path, [found])
    assert report_file(path).name == "tasks.verified.jsonl"
    (row,) = [json.loads(line) for line in report_file(path).read_text().splitlines()]
    assert (row["id"], row["holds"], row["gold_passed"], row["runs"]) == (good.id, True, 2, 2)


@docker_test
async def test_a_gold_patch_that_does_not_resolve_is_named(pools, good):
    bad = copy.deepcopy(good)
    bad.reference["gold_patch"] = ""
    found = await vet(bad, pools, runs=1)
    assert not found.holds
    assert "the gold patch does not resolve it (tests, 0/2 and 3/3 tests pass)" in found.reasons


@docker_test
async def test_a_task_that_is_already_solved_is_named(pools, good):
    bad = copy.deepcopy(good)
    bad.reference["fail_to_pass"].append(bad.reference["pass_to_pass"].pop())
    found = await vet(bad, pools, runs=1)
    assert found.reasons == ["1 of 3 failing tests pass without any patch"]


@docker_test
async def test_a_flaky_test_is_named(pools, good):
    flaky = (b"import os\nfrom wordy import longest\n\n\ndef test_longest():\n"
             b"    assert longest('a b') and int.from_bytes(os.urandom(1)) % 2\n")  # fmt: skip
    bad = changed(good, tests__test_longest=flaky)
    found = await vet(bad, pools, runs=10)
    assert found.flaky, found
    assert found.flaky == ["tests/test_longest.py::test_longest"]
    assert not found.holds


@docker_test
async def test_an_installed_copy_of_the_fix_is_found(pools, good):
    """The published package in the image gives the answer away."""
    bad = copy.deepcopy(good)
    bad.payload["requires"] = ["text-unidecode==1.3"]
    # As if the fix were to a file of that package, as it stands there.
    lender = await pools.with_packages(bad.payload["requires"])
    sandbox = await lender.acquire()
    try:
        there = "import text_unidecode as t; print(open(t.__file__).read(), end='')"
        text = (await sandbox.exec(f'python3 -c "{there}"')).output
    finally:
        await lender.release(sandbox)
    bad.reference["gold_patch"] += diff_trees({}, {"text_unidecode/__init__.py": text.encode()})
    found = await vet(bad, pools, runs=1)
    assert any(leak.startswith("an installed package holds the fix:") for leak in found.leaks)


async def fault(task: Task) -> list[str]:
    return leaks_in_files(SweTask(task))


@docker_test
async def test_the_answer_in_the_issue_or_in_the_agents_copy_is_found(good):
    assert await fault(good) == []
    (line,) = [one for one in added_lines(SweTask(good))["wordy/__init__.py"] if "max(" in one]
    told = copy.deepcopy(good)
    told.prompt += f"\nOne could write\n    {line}\n"
    assert await fault(told) == [f"the issue tells a line of the fix: {line}"]
    beside = copy.deepcopy(good)
    swe = SweTask(good)
    patch = "".join(f"+{one}\n" for one in swe.reference.gold_patch.splitlines())
    with_patch = {**swe.base, "fix.diff": patch.encode(), ".git/HEAD": b"ref: refs/heads/main\n"}
    beside.payload["shown"] = diff_trees(swe.buggy, with_patch)
    found = await fault(beside)
    assert any(one.startswith("the agent's copy holds version history") for one in found)
    assert any(one.startswith("fix.diff holds the fix") for one in found)


@docker_test
async def test_what_is_no_task_is_refused_with_the_reason(pools, good):
    bad = copy.deepcopy(good)
    bad.payload["archive"] = "repos/nothing.tar.gz"
    found = await vet(bad, pools)
    assert not found.holds
    assert "cannot be read" in found.reasons[0]


def made(name: str, repo: str, prompt: str, patch: str = "") -> Task:
    return Task(name, prompt, "swe", {}, {"gold_patch": patch}, {"repository": repo})


PATCH = "--- a/x.py\n+++ b/x.py\n@@ -{0} +{0} @@\n-    return a - b\n+    return a + b\n"
WORDS = "add returns a difference " + " ".join(f"word{n}" for n in range(200))


def test_near_copies_are_left_out_within_a_repository_only():
    tasks = [
        made("a", "o/x", WORDS, PATCH.format(1)),
        made("same patch elsewhere in the file", "o/x", "other words", PATCH.format(90)),
        made("nearly the same words", "o/x", WORDS + "today", PATCH.format(1) + "+x = 1\n"),
        made("another repository", "o/y", WORDS, PATCH.format(1)),
        made("another bug", "o/x", "the parser loses the last line", "+y = 2\n"),
    ]
    kept, dropped = deduplicate(tasks)
    assert [task.id for task in kept] == ["a", "another repository", "another bug"]
    assert dropped == {
        "same patch elsewhere in the file": "the patch of a",
        "nearly the same words": "nearly a",
    }


def test_no_repository_is_on_both_sides_of_a_split():
    tasks = [made(f"{r}-{n}", f"o/{r}", "p") for r in range(20) for n in range(1 + r % 5)]
    for seed in range(5):
        train, held_out = split_by_repository(tasks, 0.2, seed=seed)
        assert {t.id for t in train} | {t.id for t in held_out} == {t.id for t in tasks}
        assert not {repository(t) for t in train} & {repository(t) for t in held_out}
        assert 0.1 < len(held_out) / len(tasks) < 0.3
    assert split_by_repository(tasks, 0.2, seed=1) == split_by_repository(tasks, 0.2, seed=1)
    alone = [made("a", "o/x", "p"), made("b", "o/x", "p")]
    assert split_by_repository(alone, 0.9) == (alone, []), "training is never left empty"


def test_what_an_evaluation_set_holds_is_left_out_with_the_reason():
    theirs = made("eval-1", "o/eval", WORDS, PATCH.format(5))
    theirs.metadata["base_commit"] = "abc"
    commit = made("same commit", "o/z", "q")
    commit.metadata["base_commit"] = "abc"
    mine = [
        made("eval-1", "o/q", "q"),
        commit,
        made("same patch", "o/z", "q", PATCH.format(77)),
        made("quotes the issue", "o/z", f"I saw: {WORDS}"),
        made("same repository", "o/eval", "something else entirely"),
        made("clean", "o/z", "add is slow"),
    ]
    kept, dropped = decontaminate(mine, [theirs])
    assert [task.id for task in kept] == ["same repository", "clean"]
    assert dropped["same patch"] == "the patch of eval-1"
    assert dropped["same commit"] == "the base commit of eval-1"
    assert "words in a row" in dropped["quotes the issue"]
    kept, dropped = decontaminate(mine, [theirs], repositories=True)
    assert [task.id for task in kept] == ["clean"]


def test_read_back(tmp_path: Path):
    path = tmp_path / "t.jsonl"
    write_tasks(path, [made("a", "o/x", WORDS)])
    assert repository(read_tasks(path)[0]) == "o/x"
