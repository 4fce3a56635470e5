"""`agentrl tasks`: from a package to a task file that holds, in real containers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agentrl.cli import main

SOURCE = """\
def largest(values):
    best = values[0]
    for value in values[1:]:
        if value > best:
            best = value
    return best


def clamp(value, low, high):
    if value < low:
        return low
    if value > high:
        return high
    return value
"""

TESTS = """\
from calc import clamp, largest

def test_largest():
    assert largest([1, 5, 3]) == 5

def test_clamp():
    assert [clamp(v, 0, 3) for v in (5, -5, 2)] == [3, 0, 2]
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    for name, text in [("calc/__init__.py", SOURCE), ("tests/test_calc.py", TESTS)]:
        path = tmp_path / "pkg" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "pkg"


@pytest.mark.docker
def test_tasks_are_made_and_hold_until_they_are_damaged(
    package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out" / "train.jsonl"
    assert main(["tasks", "synth", str(package), "--count", "2", "--out", str(out)]) == 0
    assert f"2 train tasks in {out}" in capsys.readouterr().out
    assert main(["tasks", "verify", str(out)]) == 0
    assert "2 of 2 tasks hold" in capsys.readouterr().out

    good, bad = [json.loads(line) for line in out.read_text().splitlines()]
    bad["reference"]["gold_patch"] = ""
    out.write_text(f"{json.dumps(good)}\n{json.dumps(bad)}\n")
    assert main(["tasks", "verify", str(out)]) == 1
    said = capsys.readouterr().out
    assert f"{bad['id']}: the gold patch does not resolve it" in said
    assert "1 of 2 tasks hold" in said

    out.write_text(json.dumps(good) + "\n{\n")
    assert main(["tasks", "verify", str(out)]) == 2
    assert f"{out}:2" in capsys.readouterr().err


def test_where_held_out_tasks_go_is_checked_before_the_work(
    package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["tasks", "synth", str(package), "--out", str(tmp_path / "train.jsonl")]
    elsewhere = str(tmp_path / "other" / "eval.jsonl")
    assert main([*command, "--eval-out", elsewhere]) == 2
    assert "no held-out tasks are asked for" in capsys.readouterr().err
    assert main([*command, "--held-out", "2", "--eval-out", elsewhere]) == 2
    assert f"give {tmp_path / 'eval.jsonl'}" in capsys.readouterr().err


@pytest.mark.docker
def test_without_docker_the_message_says_how_to_start_it(
    package: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    command = ["tasks", "synth", str(package), "--out", str(tmp_path / "train.jsonl")]
    assert main(command) == 2
    said = capsys.readouterr().err
    assert "agentrl: unix:///nowhere/docker.sock: Docker is not running" in said
    assert "start it" in said
