"""`agentrl verifier`: the table, the wrong verdicts, the attacks, and what is no input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agentrl.cli import main

ROWS = [
    {"question": "1+1", "answer": "2", "reference": "2", "correct": True, "domain": "sums"},
    {"question": "1+1", "answer": "3", "reference": "2", "correct": False, "domain": "sums"},
    {"question": "a half", "answer": "1/2", "reference": "0.5", "correct": True},
    {
        "question": "a half", "answer": "It is 0.5", "reference": "0.5", "correct": True,
        "form": "full",
    },
]  # fmt: skip


@pytest.fixture
def labelled(tmp_path: Path) -> str:
    path = tmp_path / "labelled.jsonl"
    path.write_text("\n".join(map(json.dumps, ROWS)))
    return str(path)


def test_a_rule_that_misses_is_measured_and_its_mistakes_are_shown(labelled, capsys):
    assert main(["verifier", labelled, "--verifier", "{kind: exact_match}", "--wrong", "5"]) == 0
    out = capsys.readouterr().out
    overall = next(line for line in out.splitlines() if line.lstrip("| ").startswith("all"))
    assert overall.split("|")[2:4] == [" 4 ", " 0.500 "]
    assert "labelled True: '1/2'" in out
    assert "sums" in out


def test_the_settings_may_stand_in_a_file_and_attacks_are_tried(labelled, tmp_path, capsys):
    settings = tmp_path / "verifier.yaml"
    settings.write_text("kind: math\n")
    assert main(["verifier", labelled, "--verifier", str(settings), "--attack"]) == 0
    out = capsys.readouterr().out
    attacks = out[out.index("injection") - 200 :]
    assert "injection" in attacks
    assert "100%" not in attacks


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("{kind: maths}", "did you mean 'math'"),
        ("{kind: [", "not YAML"),
        ("math", "is no verifier"),
        ("{kind: exact_match, strickt: true}", "strict"),
    ],
)
def test_what_is_no_verifier_is_told(labelled, given, says, capsys):
    assert main(["verifier", labelled, "--verifier", given]) != 0
    assert says in capsys.readouterr().err


def test_a_file_that_cannot_be_read_names_the_line(tmp_path, capsys):
    path = tmp_path / "bad.jsonl"
    path.write_text(json.dumps(ROWS[0]) + "\n{broken\n")
    assert main(["verifier", str(path), "--verifier", "{kind: exact_match}"]) != 0
    assert "2" in capsys.readouterr().err
