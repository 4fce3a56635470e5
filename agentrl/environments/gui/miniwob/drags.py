"""Experts that drag."""

from __future__ import annotations

import re

from agentrl.environments.gui.miniwob.hand import Expert, Hand, Missing
from agentrl.environments.gui.screen import Element

_WAYS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
_FAR = 25


async def drag_box(hand: Hand) -> None:
    await hand.drag(hand.one(name="s").centre, hand.one(name="L").centre)
    await hand.submit()


async def drag_shape(hand: Hand) -> None:
    """The one shape there is, a bit in the direction that is asked for."""
    (way,) = hand.find(r"Drag the \w+ (left|right|up|down)")
    across, down = _WAYS[way]
    x, y = hand.one("circle", "rect", "polygon").centre
    await hand.drag((x, y), (x + across * _FAR, y + down * _FAR))
    await hand.submit()


async def drag_items(hand: Hand) -> None:
    """It ends when the item is dropped."""
    name, where = hand.find(r"Drag (\S+) (.*)\.")
    items = rows(hand)
    old = [item.name for item in items].index(name) if name in hand.texts() else -1
    if old < 0:
        raise Missing(name)
    nth = re.search(r"(\d)\w\w position", where)
    new = {"to the top": 0, "to the bottom": len(items) - 1}.get(where, old)
    new += {"down by one position": 1, "up by one position": -1}.get(where, 0)
    await move(hand, items, old, int(nth[1]) - 1 if nth else new)


async def drag_sort_numbers(hand: Hand) -> None:
    """The smallest of the rest to the front of the rest, until there is no rest."""
    for front in range(len(rows(hand))):
        items = rows(hand)
        values = [int(item.name) for item in items]
        smallest = values.index(min(values[front:]), front)
        if smallest != front:
            await move(hand, items, smallest, front)
    await hand.submit()


async def highlight_text(hand: Hand) -> None:
    """From before the first letter to behind the last one."""
    order = {"1st": 0, "2nd": 1, "3rd": 2}
    nth = next((place for word, place in order.items() if word in hand.brief), 0)
    left, top, right, bottom = hand.one("text", nth=nth).box
    await hand.drag((left, top + 2), (right - 1, bottom - 2))
    await hand.submit()


def rows(hand: Hand) -> list[Element]:
    """The rows of the list, each by the text in it."""
    return [e for e in hand.all() if e.role != "button" and e.name]


async def move(hand: Hand, items: list[Element], old: int, new: int) -> None:
    """Others make room once the middle of the dragged row is past theirs."""
    x, y = items[old].centre
    to_x, to_y = items[new].centre
    past = 4 if new > old else -4
    await hand.drag((x, y), (to_x, to_y + past))
    await hand.wait(0.1)


EXPERTS: dict[str, Expert] = {
    "drag-box": drag_box,
    "drag-circle": drag_shape,
    "drag-items": drag_items,
    "drag-single-shape": drag_shape,
    "drag-sort-numbers": drag_sort_numbers,
    "highlight-text": highlight_text,
    "highlight-text-2": highlight_text,
}
