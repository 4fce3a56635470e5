"""Experts that fill something in."""

from __future__ import annotations

import calendar
import re

from agentrl.environments.gui.miniwob.hand import Expert, Hand, Missing

_MONTHS = tuple(calendar.month_name)[1:]


async def enter_quoted(hand: Hand) -> None:
    await hand.fill(hand.quoted[0])
    await hand.submit()


async def enter_text_cased(hand: Hand) -> None:
    text = hand.quoted[0]
    await hand.fill(text.upper() if "upper case" in hand.brief else text.lower())
    await hand.submit()


async def enter_password(hand: Hand) -> None:
    for nth in (0, 1):
        await hand.fill(hand.quoted[0], nth=nth)
    await hand.submit()


async def login(hand: Hand) -> None:
    for nth in (0, 1):
        await hand.fill(hand.quoted[nth], nth=nth)
    await hand.submit("Login")


async def enter_date(hand: Hand) -> None:
    month, day, year = hand.find(r"(\d\d)/(\d\d)/(\d{4})")
    await hand.fill(f"{year}-{month}-{day}")
    await hand.submit()


async def enter_time(hand: Hand) -> None:
    hour, minute, half = hand.find(r"(\d+):(\d\d) ([AP]M)")
    hours = int(hour) % 12 + (12 if half == "PM" else 0)
    await hand.fill(f"{hours:02d}:{minute}")
    await hand.submit()


async def choose_list(hand: Hand) -> None:
    (option,) = hand.find(r"Select (.*) from the list")
    await hand.choose(option)
    await hand.submit()


async def choose_date(hand: Hand) -> None:
    """Page through the months of the calendar that the field opens."""
    month, day, _ = hand.find(r"(\d\d)/(\d\d)/(\d{4})")
    await hand.click("textbox")
    for _ in range(12):
        await hand.wait(0.1)
        shown = [e.name.split()[0] for e in hand.elements if e.name.split()[:1]]
        current = next((name for name in shown if name in _MONTHS), None)
        if current is None:
            raise Missing("the calendar")
        if current == _MONTHS[int(month) - 1]:
            break
        await hand.click(name="Prev")
    await hand.click("link", "clickable", name=str(int(day)))
    for _ in range(10):
        # It fades out over the button.
        if not hand.all(name="Prev"):
            break
        await hand.wait(0.2)
    await hand.submit()


async def simple_arithmetic(hand: Hand) -> None:
    a, sign, b = _expression(hand, r"(\d+)\s*([-+x*])\s*(\d+)")
    left, right = int(a), int(b)
    await hand.fill(str({"+": left + right, "-": left - right}.get(sign, left * right)))
    await hand.submit()


async def simple_algebra(hand: Hand) -> None:
    """x + 2 = 43, 2 + x = 43, x - 2 = 43 or 2 - x = 43."""
    one, sign, other, total = _expression(hand, r"(x|\d+)\s*([-+])\s*(x|\d+)\s*=\s*(-?\d+)")
    equals = int(total)
    if one == "x":
        answer = equals - int(other) if sign == "+" else equals + int(other)
    else:
        answer = equals - int(one) if sign == "+" else int(one) - equals
    await hand.fill(str(answer))
    await hand.submit()


async def use_autocomplete(hand: Hand) -> None:
    """The list of what starts with the letters appears below the field."""
    start, *end = hand.quoted
    await hand.fill(start)
    await hand.wait(0.8)
    offered = [e for e in hand.all("menuitem", "clickable", "listitem", "text", "option") if e.name]
    fitting = [
        e for e in offered if e.name.startswith(start) and all(e.name.endswith(x) for x in end)
    ]
    if not fitting:
        raise Missing(f"an item that starts with {start!r} and ends with {end}")
    await hand.press(fitting[0])
    await hand.submit()


async def copy_paste(hand: Hand) -> None:
    """The field that is empty is the one to paste into."""
    fields = hand.all("textbox")
    areas = [field for field in fields if field.value]
    nth = 0
    if len(areas) > 1:
        nth = ("1st", "2nd", "3rd").index(hand.find(r"from the (\w+) text area")[0])
    await hand.press(areas[nth])
    await hand.key("Control+a")
    await hand.key("Control+c")
    await hand.press(next(f for f in hand.all("textbox") if not f.value))
    await hand.key("Control+v")
    await hand.submit()


async def odd_or_even(hand: Hand) -> None:
    """Each row is a number and the buttons Odd and Even."""
    numbers = [int(e.name) for e in hand.all() if re.fullmatch(r"-?\d+", e.name)]
    for nth, number in enumerate(numbers):
        await hand.click(name="Odd" if number % 2 else "Even", nth=nth)
    await hand.submit()


async def search_movies(hand: Hand) -> None:
    """Fields are named by their labels, in one order or another; the year is in the one left."""
    genre, name, year = hand.find(r"for (.*) movies directed by (.*) from year (\d+)")
    wanted = {"genre": genre, "director": name, "year": year}
    filled: list[int] = []
    for label, text in wanted.items():
        fields = hand.all("textbox")
        labels = [_label_of(hand, field.box) or field.name for field in fields]
        left = [i for i in range(len(fields)) if i not in filled]
        found = [i for i in left if label == "year" or label in labels[i].lower()]
        if not found:
            raise Missing(f"a field for the {label} among {labels}")
        filled.append(found[0])
        await hand.type(fields[found[0]], text)
    sends = [e for e in hand.all("button", "clickable") if e.name in ("Search", "Submit", "Go!")]
    if not sends:
        raise Missing("a button that sends the form")
    await hand.press(sends[-1])


async def form_radio_and_text(hand: Hand) -> None:
    """Check the nth radio button and enter a number into the nth textbox."""
    radio, number, box = hand.find(
        r"[Cc]heck the (\w+) radio button and enter the number \"(-?\d+)\" into the (\w+) textbox"
    )
    order = ("1st", "2nd", "3rd")
    await hand.click("radio", nth=order.index(radio))
    await hand.fill(number, nth=order.index(box))
    await hand.submit()


async def click_scroll_list(hand: Hand) -> None:
    (names,) = hand.find(r"Select (.*) from the scroll list")
    for name in names.split(", "):
        await hand.choose(name)
    await hand.submit()


async def sign_agreement(hand: Hand) -> None:
    """The text must be scrolled to its end before it can be signed."""
    if len(hand.quoted) < 2:
        await hand.submit("Cancel")
        return
    name, button = hand.quoted[:2]
    box = hand.one("textbox")
    for _ in range(10):
        await hand.call("scroll", direction="down", element=box.id, amount=1000)
        if any("does not scroll" in note for note in hand.notes):
            break
    await hand.type(hand.one("textbox", name="Name"), name)
    await hand.submit(button)


def _expression(hand: Hand, pattern: str) -> tuple[str, ...]:
    for text in hand.texts():
        found = re.search(pattern, text)
        if found is not None:
            return found.groups()
    raise Missing(pattern)


def _label_of(hand: Hand, box: tuple[int, int, int, int]) -> str:
    """The text nearest to the left of a field, or above it."""
    best, nearest = "", 10**6
    for element in hand.elements:
        left, top, _, bottom = element.box
        if element.role in ("textbox", "button") or element.box == box or top > box[3]:
            continue
        beside = abs((top + bottom) // 2 - (box[1] + box[3]) // 2) + max(0, left - box[0])
        if beside < nearest and re.search("genre|director|year", element.name.lower()):
            best, nearest = element.name, beside
    return best


EXPERTS: dict[str, Expert] = {
    "choose-date": choose_date,
    "choose-date-easy": choose_date,
    "choose-date-medium": choose_date,
    "choose-date-nodelay": choose_date,
    "choose-list": choose_list,
    "click-scroll-list": click_scroll_list,
    "copy-paste": copy_paste,
    "copy-paste-2": copy_paste,
    "enter-date": enter_date,
    "enter-password": enter_password,
    "enter-text": enter_quoted,
    "enter-text-2": enter_text_cased,
    "enter-text-dynamic": enter_quoted,
    "enter-time": enter_time,
    "form-sequence-2": form_radio_and_text,
    "login-user": login,
    "multi-layouts": search_movies,
    "multi-orderings": search_movies,
    "odd-or-even": odd_or_even,
    "sign-agreement": sign_agreement,
    "simple-algebra": simple_algebra,
    "simple-arithmetic": simple_arithmetic,
    "use-autocomplete": use_autocomplete,
    "use-autocomplete-nodelay": use_autocomplete,
}
