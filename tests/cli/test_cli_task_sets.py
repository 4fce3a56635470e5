"""`agentrl tasks from-releases`, `dedup`, `split`, `decontaminate`, `verify` of folders."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from agentrl.cli import main
from agentrl.core import Task
from agentrl.core.taskfile import read_tasks, write_tasks
from agentrl.environments.swe import PackageError
from agentrl.environments.swe.releases import history, make

sys.path.insert(0, str(Path(__file__).parents[1] / "environments"))

from release_pair import write_release


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package index with the releases of one package, in the place of the real one."""
    for version in ("1.2", "1.3"):
        write_release(tmp_path / "index" / version, version)

    def versions(name: str) -> list[str]:
        if name != "wordy":
            raise PackageError(f"no source distribution of {name} is to be had")
        return ["1.3", "1.2"]

    def fetch(name: str, version: str) -> history.Release:
        return history.read_release(tmp_path / "index" / version, name)

    monkeypatch.setattr(make, "versions", versions)
    monkeypatch.setattr(make, "fetch", fetch)


@pytest.mark.docker
def test_tasks_from_releases_hold(index, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "out" / "tasks.jsonl"
    command = ["tasks", "from-releases", "nobody", "wordy", "--out", str(out), "--repeats", "2"]
    assert main([*command, "--json"]) == 0
    said = capsys.readouterr()
    assert "nobody ? -> ?: no task: no source distribution of nobody" in said.err
    assert "wordy 1.2 -> 1.3: 2 single fixes" in said.err
    assert said.err.count("1 tests fail before and pass after, 4 pass on both") == 2
    rows = [json.loads(line) for line in said.out.splitlines() if line.startswith("{")]
    assert [len(row["tasks"]) for row in rows] == [0, 2]
    assert main(["tasks", "verify", str(out), "--runs", "1"]) == 0
    assert "2 of 2 tasks hold" in capsys.readouterr().out
    report = [json.loads(line) for line in (out.parent / "tasks.verified.jsonl").open()]
    assert [row["holds"] for row in report] == [True, True]
    whole = ["tasks", "from-releases", "wordy", "--whole", "--out", str(out), "--repeats", "1"]
    assert main(whole) == 0
    assert "wordy 1.2 -> 1.3: 2 tests fail before" in capsys.readouterr().err


def test_releases_that_do_not_exist_are_named(index, tmp_path: Path, capsys):
    out = tmp_path / "tasks.jsonl"
    assert main(["tasks", "from-releases", "wordy", "--new", "7.0", "--out", str(out)]) == 1
    assert "wordy has no release 7.0 with source" in capsys.readouterr().err
    assert not out.exists()
    both = ["tasks", "from-releases", "wordy", "other", "--old", "1.2", "--out", str(out)]
    assert main(both) == 2
    assert "versions belong to one package" in capsys.readouterr().err


def task(number: int, repository: str) -> Task:
    patch = f"--- a/x\n+++ b/x\n@@ -1 +1 @@\n-old {number}\n+new {number}\n"
    words = " ".join(f"word{number}x{n}" for n in range(30))
    return Task(f"t{number}", words, "swe", {}, {"gold_patch": patch}, {"repository": repository})


def test_sets_are_made_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    tasks = [task(n, f"o/{n % 4}") for n in range(12)]
    again = task(3, "o/3")
    again.id = "again"
    source = tmp_path / "all.jsonl"
    write_tasks(source, [*tasks, again])
    once = tmp_path / "once.jsonl"
    assert main(["tasks", "dedup", str(source), "--out", str(once)]) == 0
    assert "again: the patch of t3" in capsys.readouterr().out
    train, held_out = tmp_path / "train.jsonl", tmp_path / "eval.jsonl"
    files = ["--train", str(train), "--held-out", str(held_out), "--share", "0.25"]
    assert main(["tasks", "split", str(once), *files]) == 0
    assert len(read_tasks(train)) == 9
    assert len(read_tasks(held_out)) == 3
    clean = tmp_path / "clean.jsonl"
    against = ["--against", str(held_out), "--out", str(clean)]
    assert main(["tasks", "decontaminate", str(once), *against]) == 0
    assert {t.id for t in read_tasks(clean)} == {t.id for t in read_tasks(train)}
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({
        "instance_id": "o__1-9", "repo": "o/1", "problem_statement": tasks[1].prompt,
        "patch": "", "FAIL_TO_PASS": ["a"], "PASS_TO_PASS": [],
    }) + "\n")  # fmt: skip
    against = ["--against", str(rows), "--out", str(clean)]
    assert main(["tasks", "decontaminate", str(once), *against]) == 0
    assert "t1: 13 words in a row of the issue of o__1-9" in capsys.readouterr().out
    elsewhere = ["--out", str(tmp_path / "other" / "x.jsonl")]
    assert main(["tasks", "dedup", str(source), *elsewhere]) == 2
    assert "is not in the folder" in capsys.readouterr().err
