"""The world's example: its scripted users, and the demo from end to end in the small."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from agentrl.environments.gui.world import SITE
from examples.gui.agent import Habits, careless, expert

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


SETTINGS = """## Round 0
[2] link "Settings"
[4] combobox "Size" value="Small" options: Small | Medium | Large focused
[9] button "Save"
"""


def test_what_is_wrong_is_something_else_on_the_same_screen():
    def clumsy(seed: int):
        return careless(seed, Habits(slips=0.0, wrong=1.0))

    screens = [f"Set Size to Large.\n\n{SETTINGS}", SETTINGS.replace("0", "1", 1)]
    calls = {tuple(said(clumsy, seed, *screens)) for seed in range(40)}
    assert {first for first, _ in calls} == {
        '[select(element=4, option="Small")]',
        '[select(element=4, option="Medium")]',
    }
    assert {second for _, second in calls} == {"[click(element=2)]"}


@pytest.mark.timeout(1800)  # wall time where many share the cores
def test_every_stage_from_end_to_end_in_the_recording_that_ships(tmp_path):
    shipped = SITE.parent / "recorded" / "archive"
    argv = [sys.executable, str(DEMO), "--dir", str(tmp_path / "run"), "--recording", str(shipped)]
    small = ["--starts", "1", "--kinds", "archive", "--tasks", "4", "train.steps=1"]
    short = ["train.tasks_per_step=2", "warmstart.epochs=1", "warmstart.attempts=2"]
    done = subprocess.run(
        [*argv, *small, *short, "eval.samples=2"], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode in (0, 1), done.stderr[-2000:]
    rows = [line.rsplit(maxsplit=4) for line in done.stdout.splitlines() if "episodes" in line]
    names = ["proved", "done", "rounds named", "no submission"]
    assert [row[0].strip() for row in rows] == names
    assert all(row[-2:] == ["2", "episodes"] for row in rows)
