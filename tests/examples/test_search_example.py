"""The search example in the small: its claims, its script, and both runs from end to end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from agentrl.core.taskfile import read_tasks
from examples.search.agent import careless
from examples.search.corpus import claims, hops, subjects, write_splits

DEMO = Path(__file__).resolve().parents[2] / "examples" / "search" / "demo.py"
KNOWN = {"Jazz": "Music genre", "Moon": "Natural satellite", "Rome": "Capital of Italy"}


def documents(folder: Path) -> Path:
    path = folder / "documents.jsonl"
    entries = [
        {"id": name, "title": "", "text": f"{what}. {name} is known.", "description": what}
        for name, what in KNOWN.items()
    ]
    entries.append(
        {
            "id": "Ancient city",
            "title": "",
            "text": "City. One of them is Rome.",
            "description": "Settlement of long ago, and more",
        }
    )
    path.write_text("\n".join(map(json.dumps, entries)))
    return path


def test_subjects_have_a_plain_title_and_a_short_description(tmp_path):
    assert subjects(documents(tmp_path), 5, seed=0).keys() == KNOWN.keys()
    assert len(subjects(documents(tmp_path), 2, seed=0)) == 2


def test_every_subject_is_claimed_both_ways_and_no_claim_is_in_both_splits(tmp_path):
    tasks = list(claims(KNOWN, seed=0))
    assert len(tasks) == 12 == len({task.id for task in tasks})
    assert sum(task.reference["label"] == "SUPPORT" for task in tasks) == 6
    train, held_out = write_splits(KNOWN, tmp_path, seed=0)
    ids = [{task.id for task in read_tasks(path)} for path in (train, held_out)]
    assert len(ids[0] | ids[1]) == 12
    assert not ids[0] & ids[1]


def test_questions_of_two_hops_have_one_answer(tmp_path):
    known = [json.loads(line) for line in documents(tmp_path).read_text().splitlines()]
    (task,) = hops(known, seed=0, count=5)
    assert task.reference == {
        "answers": ["Capital of Italy"], "evidence": ["Ancient_city", "Rome"],
    }  # fmt: skip


def test_the_script_searches_for_the_subject_and_cites_what_it_saw():
    cited = set()
    for seed in range(60):
        script = careless(seed)
        next(script)
        said = script.send('Of "Moon" it is true that it is: natural satellite.')
        assert said == '[search(query="Moon")]'
        final = script.send("[[Moon]]: Natural\n[[Rome]]: Capital\n(0 searches left)")
        assert final.split("\n")[0] in ("Label: SUPPORT", "Label: REFUTE")
        cited.add(final.split("\n")[1])
    both = "[[Moon]], [[Rome]]"
    assert cited == {f"Evidence: {ids}" for ids in ("none", "[[Moon]]", "[[Rome]]", both)}


@pytest.mark.timeout(1800)  # wall time where many share the cores
def test_both_runs_from_end_to_end(tmp_path):
    argv = [sys.executable, str(DEMO), "--dir", str(tmp_path / "run"), "--subjects", "3"]
    short = [
        "train.steps=1",
        "train.tasks_per_step=2",
        "warmstart.epochs=1",
        "warmstart.attempts=1",
    ]
    done = subprocess.run(
        [*argv, "--documents", str(documents(tmp_path)), *short, "eval.samples=1"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode in (0, 1), done.stderr[-2000:]
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [line[0] for line in lines if line and line[-1] == "episodes"] == [
        "imitation", "label", "full",
    ]  # fmt: skip
