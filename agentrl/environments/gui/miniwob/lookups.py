"""Experts that look something up and then act on it."""

from __future__ import annotations

import re

from agentrl.environments.gui.miniwob.hand import Expert, Hand, Missing


async def buy_ticket(hand: Hand) -> None:
    """Each offer is a duration and a button with its price."""
    prices = [int(e.name.rpartition("$")[2]) for e in hand.all("button")]
    if "cheapest" in hand.brief or "most expensive" in hand.brief:
        best = min(prices) if "cheapest" in hand.brief else max(prices)
        await hand.click("button", nth=prices.index(best))
        return
    times = [re.fullmatch(r"(\d+)h (\d+)m", text) for text in hand.texts()]
    minutes = [int(m.group(1)) * 60 + int(m.group(2)) for m in times if m]
    wanted = min(minutes) if "shortest" in hand.brief else max(minutes)
    await hand.click("button", nth=minutes.index(wanted))


async def find_word(hand: Hand) -> None:
    (nth,) = hand.find(r"Find the (\d+)\w\w word")
    paragraph = max((e.name for e in hand.all("text")), key=len)
    words = re.findall(r"[\w']+", paragraph)
    await hand.fill(words[int(nth) - 1])
    await hand.submit()


async def read_table(hand: Hand) -> None:
    (key,) = hand.find(r"value of (.*) into the text field")
    await hand.fill(_cell_of(hand, key))
    await hand.submit()


async def read_table_2(hand: Hand) -> None:
    """The labels of the form are keys of the table."""
    keys = [e.name.rstrip(":") for e in hand.elements if e.name.endswith(":")]
    for nth, key in enumerate(keys):
        await hand.fill(_cell_of(hand, key), nth=nth)
    await hand.submit()


async def phone_book(hand: Hand) -> None:
    name, kind = hand.find(r"Find (.*) in the contact book and click on their (\w+)")
    for _ in range(6):
        if any(e.name == name for e in hand.all("heading")):
            break
        await hand.click("link", "clickable", name=">")
    else:
        raise Missing(name)
    # In the order of the page: phone, e-mail, address.
    nth = ("phone", "email", "address").index(kind)
    values = [e for e in hand.all("clickable", "text", "link") if e.name not in ("<", ">", "1")]
    labels = ("Phone:", "Email:", "Address:")
    shown = [e for e in values if e.name not in labels and not e.name.isdigit()]
    await hand.press(shown[nth])


async def search_engine(hand: Hand) -> None:
    """Three results a page; the pages are numbered below."""
    (nth,) = hand.find(r"click the (\d+)\w\w search result")
    await hand.fill(hand.quoted[0])
    await hand.submit("Search")
    page, place = divmod(int(nth) - 1, 3)
    if page:
        await hand.click("link", "clickable", name=str(page + 1))
    results = [e for e in hand.all("link", "clickable") if not re.fullmatch(r"\d+|[<>]", e.name)]
    await hand.press(results[place])


async def text_transform(hand: Hand) -> None:
    letters = [e.name for e in hand.all("text") if e.name]
    await hand.fill("".join(letters))
    await hand.submit()


def _cell_of(hand: Hand, key: str) -> str:
    cells = [e.name for e in hand.all("cell", "columnheader")]
    if key not in cells[:-1]:
        raise Missing(key)
    return cells[cells.index(key) + 1]


EXPERTS: dict[str, Expert] = {
    "buy-ticket": buy_ticket,
    "find-word": find_word,
    "phone-book": phone_book,
    "read-table": read_table,
    "read-table-2": read_table_2,
    "search-engine": search_engine,
    "text-transform": text_transform,
}
