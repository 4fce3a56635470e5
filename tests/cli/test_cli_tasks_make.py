"""Tasks of the small environments from the command line, and the other commands of environments."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agentrl.cli import main
from agentrl.cli.tasks.make import KINDS
from agentrl.core.taskfile import read_tasks


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_made_the_same_for_a_seed(tmp_path, kind, capsys):
    for name in ("one", "two"):
        out = tmp_path / f"{name}.jsonl"
        assert main(["tasks", "make", kind, "--count", "5", "--out", str(out), "--seed", "3"]) == 0
    assert "5 tasks" in capsys.readouterr().out
    one, two = (path.read_text() for path in sorted(tmp_path.glob("*.jsonl")))
    assert one == two
    assert len(read_tasks(tmp_path / "one.jsonl")) == 5


def test_knobs_reach_the_generator(tmp_path):
    out = tmp_path / "mazes.jsonl"
    argv = ["tasks", "make", "maze", "lengths=[3, 4]", "max_bends=0", "--count", "4"]
    assert main([*argv, "--out", str(out)]) == 0
    found = [(t.metadata["length"], t.metadata["turns"]) for t in read_tasks(out)]
    assert sorted(found) == [(3, 0), (3, 0), (4, 0), (4, 0)]


@pytest.mark.parametrize(
    ("knob", "said"), [("lenghts=[1]", "there is no knob"), ("max_bends=many", "valid integer")]
)
def test_a_knob_that_is_wrong_is_told(tmp_path, capsys, knob, said):
    assert main(["tasks", "make", "maze", knob, "--out", str(tmp_path / "x.jsonl")]) == 2
    assert said in capsys.readouterr().err


def test_an_index_is_made_grown_and_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    first, second = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    first.write_text(json.dumps({"id": "moon", "text": "The moon pulls the tides."}))
    second.write_text(json.dumps({"id": "cat", "text": "The cat hunts mice."}))
    index = str(tmp_path / "index")
    assert main(["search", "index", str(first), "--out", index]) == 0
    assert main(["search", "index", str(first), str(second), "--out", index]) == 0
    assert "1 documents added, 1 known already; 2 passages" in capsys.readouterr().out
    assert main(["search", "query", index, "hunting mice"]) == 0
    assert "[[cat]]" in capsys.readouterr().out
    assert main(["search", "query", index, "volcano"]) == 1
    assert main(["search", "query", str(tmp_path / "none"), "x"]) == 2
    assert "there is no index here" in capsys.readouterr().err
