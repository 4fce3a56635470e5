"""The ledger example: its tasks, its clerk, and a short run from end to end."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from agentrl.core import Episode
from agentrl.episodes import dialect
from examples.ledger import Ledger
from examples.ledger_train import ACCOUNTS, HABITS, Settled, careless, payments

TRAIN = Path(__file__).resolve().parents[2] / "examples" / "ledger_train.py"


def test_payments_are_all_there_and_keep_the_money() -> None:
    tasks = payments()
    assert len({task.id for task in tasks}) == 54
    assert all(sum(task.reference["balance"].values()) == 30 for task in tasks)


async def test_the_clerk_is_right_about_as_often_as_he_should_be() -> None:
    """Played in the environment: right calls settle the books, the others do not."""
    (task,) = [t for t in payments() if t.id == "cash-rent-4"]
    found = Counter()
    for seed in range(200):
        script = careless(seed)
        next(script)
        said = script.send(task.prompt)
        (call,) = dialect("pythonic").parse(said)
        ledger = Ledger()
        await ledger.reset(task)
        await ledger.tools["transfer"](call.arguments)
        episode = Episode(task, outcome=await ledger.finish(Episode(task)))
        found[(await Settled().score(episode)).value] += 1
        assert set(ledger.balance) == set(ACCOUNTS)
    assert found[1.0] / 200 == pytest.approx(HABITS["right"], abs=0.1)


@pytest.mark.timeout(1800)  # wall time where many share the cores
def test_a_short_run_from_end_to_end(tmp_path: Path) -> None:
    short = ["train.steps=1", "train.tasks_per_step=2", "tasks.limit=8", "eval.samples=1"]
    short += ["warmstart.epochs=1", "warmstart.attempts=1"]
    done = subprocess.run(
        [sys.executable, str(TRAIN), "--dir", str(tmp_path / "run"), *short],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode in (0, 1), done.stderr[-2000:]
    assert "held-out payments settled:" in done.stdout
