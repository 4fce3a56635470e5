"""The example that sees, in the small: every stage from end to end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

DEMO = Path(__file__).resolve().parents[2] / "examples" / "vision" / "demo.py"


@pytest.mark.timeout(1800)  # wall time where many share the cores
def test_every_stage_from_end_to_end(tmp_path):
    argv = [sys.executable, str(DEMO), "--dir", str(tmp_path / "run"), "--mazes", "40"]
    short = ["--shown", "32", "--held-out", "6", "train.steps=1", "train.tasks_per_step=2"]
    done = subprocess.run(
        [*argv, *short, "warmstart.epochs=1", "eval.samples=1"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode in (0, 1), done.stderr[-2000:]
    rows = [line.split() for line in done.stdout.splitlines() if line.endswith("episodes")]
    assert [" ".join(row[:2]) for row in rows] == [
        "after imitation", "after training", "pictures exchanged",
    ]  # fmt: skip
    assert all(row[-2] == "6" for row in rows)
