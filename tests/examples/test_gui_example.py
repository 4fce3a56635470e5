"""The GUI example in the small: its scripts, and the demo from end to end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from examples.gui.agent import careless, expert

DEMO = Path(__file__).resolve().parents[2] / "examples" / "gui" / "demo.py"
CART = """<|tool|>## Round 3
Cart  http://world.test/shop/cart.html
[2] link "Goods"
[4] link "Orders"
[6] heading "Cart"
text "1 x Lamp"
[8] button "Remove Lamp"
[9] button "Order"
"""


def said(script, seed: int, *screens: str) -> list[str]:
    agent = script(seed)
    next(agent)
    found = []
    for screen in screens:
        try:
            found.append(agent.send(screen))
        except StopIteration:
            break
    return found


def test_the_expert_names_the_round_that_shows_the_result():
    screens = [
        'Order 1 x Lamp.\n\n## Round 0\n[7] button "Add Lamp"',
        '## Round 1\n[7] button "Add Lamp"\n[3] link "Cart"',
        CART,
        '## Round 4\n[4] link "Orders"',
        '## Round 5\nlistitem "Order 1: 1 x Lamp"',
    ]
    assert said(expert, 0, *screens) == [
        "[click(element=7)]",
        "[click(element=3)]",
        "[click(element=9)]",
        "[click(element=4)]",
        '[submit(message="done", evidence=[5])]',
    ]


def test_the_careless_user_has_every_bad_habit():
    screens = ['Set Size to Large.\n\n## Round 0\n[4] combobox "Size"\n[9] button "Save"']
    screens += [
        '## Round 1\n[4] combobox "Size"\n[9] button "Save"',
        '## Round 2\n[3] link "Overview"',
    ]
    screens += ["## Round 3\nOverview"]
    endings = {said(careless, seed, *screens)[-1] for seed in range(200)}
    named = {ending.split("evidence=")[1] for ending in endings}
    assert {"[2])]", "[3])]", "[])]", "[4])]", "[1, 2])]", "[0, 1, 2, 3])]"} <= named


@pytest.mark.timeout(1800)  # wall time where many share the cores
def test_the_demo_from_end_to_end(tmp_path):
    argv = [sys.executable, str(DEMO), "--dir", str(tmp_path / "run"), "--kinds", "set"]
    short = [
        "train.steps=1",
        "train.tasks_per_step=2",
        "warmstart.epochs=1",
        "warmstart.attempts=1",
        "eval.samples=1",
    ]
    done = subprocess.run(
        [*argv, "--tasks", "3", "--held-out", "1", "--recording", *short],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode in (0, 1), done.stderr[-2000:]
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [line[0] for line in lines if line and line[-1] == "episodes"] == [
        "imitation",
        "trained",
    ]
    assert "<svg" not in (tmp_path / "run" / "film.html").read_text(), (
        "a text policy saw no pictures"
    )
