"""A careless user of the world, written as a script: it can use the applications, and proves badly.

It sometimes leaves a step out or takes the wrong thing, mostly submits from the page that says no
more than "done", and names rounds by habit: the last one, too many, none, or one there is not.
"""

from __future__ import annotations

import random
import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass

_ROUND = re.compile(r"## Round (\d+)")
# What can be acted on.
_ACTS = "(?:link|button|combobox|textbox)"
# What is done in an application, and the link to the page that shows it.
_TASKS = {
    "order": (re.compile(r"Order (\d) x ([\w ]+)\."), "Orders"),
    "archive": (re.compile(r"Archive the mail of (\w+)\."), "Archive"),
    "delete": (re.compile(r"Delete the mail of (\w+)\."), "Bin"),
    "send": (re.compile(r"Write to (\w+) with the subject (\w+)\."), "Sent"),
    "set": (re.compile(r"Set (\w+) to (\w+)\."), "Overview"),
    "add": (re.compile(r"Add (\w+), (\w+) ([\d:]+)\."), "Week"),
    "remove": (re.compile(r"Remove (\w+) from the calendar\."), "Week"),
}


@dataclass(frozen=True)
class Habits:
    """Probabilities of what it does.

    Attributes:
        slips: a step is left out.
        wrong: another link, button or option is taken.
        looks: it goes to the page that shows the result.
        evidence: which rounds it names.
    """

    slips: float = 0.1
    wrong: float = 0.0
    looks: float = 0.35
    evidence: tuple[tuple[str, float], ...] = (
        ("last", 0.3),
        ("two", 0.15),
        ("all", 0.2),
        ("next", 0.2),
        ("none", 0.15),
    )


def careless(seed: int, habits: Habits | None = None) -> Generator[str, str, None]:
    """Yields one message per turn; is sent what the environment said since."""
    habits = habits or Habits()
    rng = random.Random(seed)
    seen = yield ""
    kind, words = _task(seen)
    for what, name, value in _steps(kind, words):
        if rng.random() < habits.slips:
            continue
        if habits.wrong and rng.random() < habits.wrong:
            name, value = _other(seen, what, name, value, rng)
        call = _call(seen, what, name, value)
        if call is None:
            break
        seen = yield call
    if rng.random() < habits.looks and (call := _call(seen, "click", _TASKS[kind][1], "")):
        seen = yield call
    yield f'[submit(message="done", evidence={_evidence(seen, habits, rng)})]'


def clumsy(seed: int) -> Generator[str, str, None]:
    """Careless, and takes the wrong thing at times."""
    yield from careless(seed, Habits(slips=0.06, wrong=0.12))


def expert(seed: int) -> Generator[str, str, None]:
    """Does the task, looks at the page that shows it, and names that round."""
    always = Habits(slips=0.0, looks=1.0, evidence=(("last", 1.0),))
    yield from careless(seed, always)


def _task(seen: str) -> tuple[str, tuple[str, ...]]:
    for kind, (pattern, _) in _TASKS.items():
        if found := pattern.search(seen):
            return kind, found.groups()
    raise ValueError(f"no task of the world in {seen[:200]!r}")


def _steps(kind: str, words: tuple[str, ...]) -> Iterator[tuple[str, str, str]]:
    """(tool, beginning of an element's name, value) one after the other."""
    match kind:
        case "order":
            for _ in range(int(words[0])):
                yield "click", f"Add {words[1]}", ""
            yield "click", "Cart", ""
            yield "click", "Order", ""
        case "archive" | "delete":
            yield "click", f"{words[0]}:", ""
            yield "click", f"{kind.capitalize()} it", ""
        case "send":
            yield "click", "Write", ""
            yield "select", "To", words[0]
            yield "type", "Subject", words[1]
            yield "click", "Send", ""
        case "set":
            yield "select", words[0], words[1]
            yield "click", "Save", ""
        case "add":
            yield "click", "New", ""
            yield "type", "Title", words[0]
            yield "select", "Day", words[1]
            yield "select", "Time", words[2]
            yield "click", "Save", ""
        case "remove":
            yield "click", f"{words[0]},", ""
            yield "click", "Remove it", ""


def _other(seen: str, what: str, name: str, value: str, rng: random.Random) -> tuple[str, str]:
    """Another option of the same list, or another element of the same screen; the same when there
    is none."""
    screen = seen[seen.rindex("## Round") :]
    if what == "select":
        listed = re.search(rf'"{re.escape(name)}" value=.* options: (.*)$', screen, re.MULTILINE)
        options = listed[1].removesuffix(" focused").split(" | ") if listed else []
        others = [option for option in options if option != value]
        return name, rng.choice(others) if others else value
    names = re.findall(r'^\s*\[\d+\] (?:link|button) "([^"]+)"', screen, re.MULTILINE)
    others = [other for other in names if what == "click" and not other.startswith(name)]
    return (rng.choice(others) if others else name), value


def _call(seen: str, what: str, name: str, value: str) -> str | None:
    """The call on the last element of the screen whose name begins so; None when there is none.
    (A button "Order" stands behind a link "Orders".)"""
    screen = seen[seen.rindex("## Round") :]
    found = re.findall(rf'^\s*\[(\d+)\] {_ACTS} "{re.escape(name)}', screen, re.MULTILINE)
    exact = re.findall(rf'^\s*\[(\d+)\] {_ACTS} "{re.escape(name)}"', screen, re.MULTILINE)
    if not found:
        return None
    element = (exact or found)[-1]
    match what:
        case "select":
            return f'[select(element={element}, option="{value}")]'
        case "type":
            return f'[type(element={element}, text="{value}")]'
        case _:
            return f"[click(element={element})]"


def _evidence(seen: str, habits: Habits, rng: random.Random) -> list[int]:
    last = int(_ROUND.findall(seen)[-1])
    (habit,) = rng.choices([h for h, _ in habits.evidence], [w for _, w in habits.evidence])
    return {
        "last": [last],
        "two": [max(last - 1, 0), last],
        "all": list(range(last + 1)),
        "next": [last + 1],
        "none": [],
    }[habit]
