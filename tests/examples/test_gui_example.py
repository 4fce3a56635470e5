"""The scripted users of the world: one that proves its work, one with every bad habit."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from examples.gui.agent import careless, expert

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
