"""Scripted experts for MiniWoB++: what a right episode looks like, task by task.

They read what a policy reads (the instruction and the elements) and use what it can use. Each takes
a `Hand` and plays one episode to its end.
"""

from __future__ import annotations

import re

from agentrl.environments.gui.miniwob import drags, forms, lookups
from agentrl.environments.gui.miniwob.hand import Expert, Hand, Missing

_COLOURS = {
    "black": (0, 0, 0),
    "blue": (0, 0, 255),
    "cyan": (0, 255, 255),
    "grey": (128, 128, 128),
    "lime": (0, 255, 0),
    "magenta": (255, 0, 255),
    "olive": (128, 128, 0),
    "orange": (255, 165, 0),
    "pink": (255, 192, 203),
    "purple": (128, 0, 128),
    "red": (255, 0, 0),
    "white": (255, 255, 255),
    "yellow": (255, 255, 0),
}


async def click_named(hand: Hand) -> None:
    """Click what the instruction quotes."""
    await hand.click("button", "clickable", "link", "menuitem", name=hand.quoted[-1])


async def click_any_button(hand: Hand) -> None:
    await hand.click("button")


async def click_button_called(hand: Hand) -> None:
    (name,) = hand.find(r"Click button (\w+)")
    await hand.submit(name)


async def click_both_buttons(hand: Hand) -> None:
    await hand.submit("ONE")
    await hand.submit("TWO")


async def click_dialog(hand: Hand) -> None:
    """The cross of the dialog is a button whose name is "Close"."""
    await hand.click("button", name="Close")


async def click_dialog_button(hand: Hand) -> None:
    name = hand.quoted[-1]
    await hand.click("button", name="Close" if name == "x" else name)


async def click_option(hand: Hand) -> None:
    (name,) = hand.find(r"Select (.*) and click Submit")
    await hand.click("radio", name=name)
    await hand.submit()


async def click_checkboxes(hand: Hand) -> None:
    (names,) = hand.find(r"Select (.*) and click Submit")
    for name in names.split(", ") if names != "nothing" else []:
        await hand.click("checkbox", name=name)
    await hand.submit()


async def click_tab(hand: Hand) -> None:
    (name,) = hand.find(r"Click on (Tab #\d)")
    await hand.click("tab", "link", name=name)


async def click_tab_link(hand: Hand) -> None:
    """Open one tab after the other until the link is there."""
    wanted = hand.quoted[-1]
    for nth in range(len(hand.all("tab"))):
        await hand.click("tab", nth=nth)
        if hand.all("clickable", "link", name=wanted):
            break
    await hand.click("clickable", "link", name=wanted)


async def click_collapsible(hand: Hand) -> None:
    await hand.click("tab", nth=0)
    await hand.wait(0.5)
    await hand.submit()


async def click_collapsible_link(hand: Hand) -> None:
    wanted = hand.quoted[-1]
    for section in [element.name for element in hand.all("tab")]:
        await hand.click("tab", name=section)
        await hand.wait(0.5)
        if hand.all("clickable", "link", name=wanted):
            break
    await hand.click("clickable", "link", name=wanted)


async def click_color(hand: Hand) -> None:
    """A box is said by the colour that it is painted with; the instruction may show one too."""
    (name,) = hand.find(r"Click on the (\w+) colored box")
    colour = f"rgb({', '.join(map(str, _COLOURS[name]))})"
    await hand.click("area", name=colour)


async def focus_text(hand: Hand) -> None:
    await hand.click("textbox")


async def focus_nth(hand: Hand) -> None:
    (nth,) = hand.find(r"Focus into the (\d)")
    await hand.click("textbox", nth=int(nth) - 1)


async def navigate_tree(hand: Hand) -> None:
    """Open folders, top to bottom, until the name is there."""
    wanted, tried = hand.quoted[-1], set[str]()
    for _ in range(30):
        shown = [element for element in hand.all() if element.name == wanted]
        if shown:
            await hand.press(shown[-1])
            return
        closed = [e for e in hand.all() if e.name and e.name not in tried]
        if not closed:
            break
        tried.add(closed[0].name)
        await hand.press(closed[0])
        await hand.wait(0.3)
    raise Missing(wanted)


async def ascending_numbers(hand: Hand) -> None:
    """The first click covers the numbers."""
    places = {int(e.name): e.centre for e in hand.all() if e.name.isdigit()}
    for number in sorted(places):
        await hand.point(*places[number])


async def grid_coordinate(hand: Hand) -> None:
    """Circles are at the crossings; the axes count from -2 to 2."""
    x, y = map(int, hand.find(r"\((-?\d),(-?\d)\)"))
    circles = hand.all("circle")
    columns = sorted({c.centre[0] for c in circles})
    rows = sorted({c.centre[1] for c in circles})
    await hand.point(columns[x + 2], rows[2 - y])


async def find_greatest(hand: Hand) -> None:
    cards = [e for e in hand.all() if re.fullmatch(r"-?\d+", e.name)]
    await hand.press(max(cards, key=lambda card: int(card.name)))
    await hand.submit()


async def generate_number(hand: Hand) -> None:
    fits = {
        "less than": lambda n, of: n < of,
        "greater than": lambda n, of: n > of,
        "an odd": lambda n, of: n % 2 == 1,
        "an even": lambda n, of: n % 2 == 0,
    }
    kind = next(words for words in fits if words in hand.brief)
    limit = int((re.findall(r"\d+", hand.brief) or ["0"])[0])
    for _ in range(60):
        await hand.submit("Generate")
        shown = [e.name for e in hand.all() if e.name.isdigit()]
        if shown and fits[kind](int(shown[0]), limit):
            break
    await hand.submit()


async def guess_number(hand: Hand) -> None:
    low, high = 0, 9
    while low <= high:
        guess = (low + high) // 2
        await hand.fill(str(guess))
        await hand.submit()
        said = " ".join(hand.texts())
        if "greater than" in said or "higher" in said:
            low = guess + 1
        elif "less than" in said or "lower" in said:
            high = guess - 1
        else:
            return


EXPERTS: dict[str, Expert] = {
    "ascending-numbers": ascending_numbers,
    "click-button": click_named,
    "click-button-sequence": click_both_buttons,
    "click-checkboxes": click_checkboxes,
    "click-checkboxes-large": click_checkboxes,
    "click-checkboxes-transfer": click_checkboxes,
    "click-collapsible": click_collapsible,
    "click-collapsible-nodelay": click_collapsible,
    "click-collapsible-2": click_collapsible_link,
    "click-collapsible-2-nodelay": click_collapsible_link,
    "click-color": click_color,
    "click-dialog": click_dialog,
    "click-dialog-2": click_dialog_button,
    "click-link": click_named,
    "click-option": click_option,
    "click-tab": click_tab,
    "click-tab-2": click_tab_link,
    "click-tab-2-easy": click_tab_link,
    "click-tab-2-hard": click_tab_link,
    "click-tab-2-medium": click_tab_link,
    "click-test": click_any_button,
    "click-test-2": click_button_called,
    "click-test-transfer": click_button_called,
    "find-greatest": find_greatest,
    "focus-text": focus_text,
    "focus-text-2": focus_nth,
    "generate-number": generate_number,
    "grid-coordinate": grid_coordinate,
    "guess-number": guess_number,
    "navigate-tree": navigate_tree,
    "unicode-test": click_named,
    **drags.EXPERTS,
    **forms.EXPERTS,
    **lookups.EXPERTS,
}
