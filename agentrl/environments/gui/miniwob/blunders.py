"""How to fail the tasks whose instruction is always the same.

The others are failed by doing what another seed's instruction asks for.
"""

from __future__ import annotations

import re

from agentrl.environments.gui.miniwob.drags import move, rows
from agentrl.environments.gui.miniwob.hand import Expert, Hand
from agentrl.environments.gui.miniwob.lookups import phone_book


async def descending_numbers(hand: Hand) -> None:
    places = {int(e.name): e.centre for e in hand.all() if e.name.isdigit()}
    await hand.point(*places[max(places)])


async def second_button_first(hand: Hand) -> None:
    await hand.submit("TWO")
    await hand.submit("ONE")


async def another_detail(hand: Hand) -> None:
    """The address of who is asked for instead of the phone number, and so on."""
    name, kind = hand.find(r"Find (.*) in the contact book and click on their (\w+)")
    wrong = {"phone": "email", "email": "address", "address": "phone"}[kind]
    hand.brief = f"Find {name} in the contact book and click on their {wrong}."
    await phone_book(hand)


async def submit_at_once(hand: Hand) -> None:
    await hand.submit()


async def the_other_button(hand: Hand) -> None:
    """The one that the instruction does not name."""
    (name,) = hand.find(r"button (\w+)")
    await hand.submit({"ONE": "TWO", "TWO": "ONE"}[name])


async def smallest_card(hand: Hand) -> None:
    cards = [e for e in hand.all() if re.fullmatch(r"-?\d+", e.name)]
    await hand.press(min(cards, key=lambda card: int(card.name)))
    await hand.submit()


async def one_of_each(hand: Hand) -> None:
    """Some of the numbers are not what they are marked as, or are not marked."""
    await hand.click(name="Odd", nth=0)
    await hand.submit()


async def wrong_answer(hand: Hand) -> None:
    for nth, _ in enumerate(hand.all("textbox")):
        await hand.fill("99999", nth=nth)
    await hand.submit()


async def largest_first(hand: Hand) -> None:
    """The smallest goes to the bottom."""
    items = rows(hand)
    values = [int(item.name) for item in items]
    await move(hand, items, values.index(min(values)), len(items) - 1)
    await hand.submit()


async def another_row(hand: Hand) -> None:
    (name,) = hand.find(r"Drag (\S+) ")
    items = rows(hand)
    old = next(nth for nth, item in enumerate(items) if item.name != name)
    await move(hand, items, old, old + 1)


BLUNDERS: dict[str, Expert] = {
    "ascending-numbers": descending_numbers,
    "click-button-sequence": second_button_first,
    "click-collapsible": submit_at_once,
    "click-collapsible-nodelay": submit_at_once,
    "click-test-2": the_other_button,
    "click-test-transfer": the_other_button,
    "copy-paste": submit_at_once,
    "drag-box": submit_at_once,
    "drag-items": another_row,
    "drag-sort-numbers": largest_first,
    "find-greatest": smallest_card,
    "highlight-text": submit_at_once,
    "highlight-text-2": submit_at_once,
    "odd-or-even": one_of_each,
    "phone-book": another_detail,
    "read-table-2": wrong_answer,
    "simple-algebra": wrong_answer,
    "simple-arithmetic": wrong_answer,
    "text-transform": wrong_answer,
}
