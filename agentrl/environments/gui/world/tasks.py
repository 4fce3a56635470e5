"""Tasks in the world: what to do, the state that is wanted at the end, and what proves it."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from agentrl.core import ConfigError, Task, derive_seed

SITE = Path(__file__).parent / "site"
GOODS = ("Blue mug", "Red mug", "Lamp", "Chair", "Clock", "Notebook")
PEOPLE = ("Ana", "Bo", "Cleo", "Dan", "Eva", "Finn")
SUBJECTS = ("Lunch", "Budget", "Keys", "Tickets", "Garden", "Photos", "Invoice", "Piano")
CHOICES = {
    "Language": ("English", "Danish", "Greek", "Polish"),
    "Theme": ("Light", "Dark", "Sepia"),
    "Size": ("Small", "Medium", "Large"),
    "Sound": ("On", "Off"),
}
TITLES = ("Dentist", "Review", "Swimming", "Concert", "Interview", "Yoga", "Choir", "Haircut")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday")
TIMES = ("9:00", "10:00", "11:00", "14:00", "15:00")

ORIGIN = "http://world.test"
KEY = "world"
ATTEMPTS = 200
State = dict[str, Any]
Kind = Literal["order", "archive", "delete", "send", "set", "add", "remove"]


@dataclass(slots=True)
class Plan:
    """One task before it is written down.

    Attributes:
        start, goal: the state of the world before and after; nothing else may have changed.
        page: file of the page that proves it; `shows` and `lacks`, what it must and must not say.
    """

    app: str
    prompt: str
    start: State
    goal: State
    page: str
    shows: list[str] = field(default_factory=list)
    lacks: list[str] = field(default_factory=list)


def _begin(rng: random.Random) -> State:
    """A state with mails of different people and events at different times."""
    people, subjects = rng.sample(PEOPLE, 4), rng.sample(SUBJECTS, 4)
    slots = rng.sample(list(itertools.product(DAYS, TIMES)), 2)
    titles = rng.sample(TITLES, 2)
    return {
        "cart": {},
        "orders": [],
        "mails": [
            {"from": person, "subject": subject, "folder": "Inbox"}
            for person, subject in zip(people, subjects, strict=True)
        ],
        "sent": [],
        "settings": {name: rng.choice(options) for name, options in CHOICES.items()},
        "events": [
            {"title": title, "day": day, "time": time}
            for title, (day, time) in zip(titles, slots, strict=True)
        ],
    }


def _order(start: State, rng: random.Random) -> Plan:
    name, count = rng.choice(GOODS), rng.randint(1, 3)
    goal = deepcopy(start)
    goal["orders"].append({name: count})
    line = f"{count} x {name}"
    return Plan("shop", f"Order {line}.", start, goal, "orders", [f"Order 1: {line}"])


def _move(start: State, rng: random.Random, verb: str, folder: str) -> Plan:
    goal = deepcopy(start)
    mail = rng.choice(goal["mails"])
    mail["folder"] = folder
    said = f"{mail['from']}: {mail['subject']}"
    return Plan("mail", f"{verb} the mail of {mail['from']}.", start, goal, folder.lower(), [said])


def _send(start: State, rng: random.Random) -> Plan:
    goal = deepcopy(start)
    mail = {"to": rng.choice(PEOPLE), "subject": rng.choice(SUBJECTS)}
    goal["sent"].append(mail)
    prompt = f"Write to {mail['to']} with the subject {mail['subject']}."
    return Plan("mail", prompt, start, goal, "sent", [f"To {mail['to']}: {mail['subject']}"])


def _set(start: State, rng: random.Random) -> Plan:
    goal = deepcopy(start)
    name = rng.choice(list(CHOICES))
    value = rng.choice([v for v in CHOICES[name] if v != start["settings"][name]])
    goal["settings"][name] = value
    prompt = f"Set {name} to {value}."
    return Plan("settings", prompt, start, goal, "overview", [f"{name}: {value}"])


def _add(start: State, rng: random.Random) -> Plan:
    goal = deepcopy(start)
    taken = {event["title"] for event in start["events"]}
    title = rng.choice([t for t in TITLES if t not in taken])
    event = {"title": title, "day": rng.choice(DAYS), "time": rng.choice(TIMES)}
    goal["events"].append(event)
    said = f"{title}, {event['day']} {event['time']}"
    return Plan("calendar", f"Add {said}.", start, goal, "index", [said])


def _remove(start: State, rng: random.Random) -> Plan:
    goal = deepcopy(start)
    event = goal["events"].pop(rng.randrange(len(goal["events"])))
    prompt = f"Remove {event['title']} from the calendar."
    return Plan("calendar", prompt, start, goal, "index", [], [event["title"]])


KINDS: dict[str, Callable[[State, random.Random], Plan]] = {
    "order": _order,
    "archive": lambda start, rng: _move(start, rng, "Archive", "Archive"),
    "delete": lambda start, rng: _move(start, rng, "Delete", "Bin"),
    "send": _send,
    "set": _set,
    "add": _add,
    "remove": _remove,
}


def make_tasks(
    count: int,
    *,
    seed: int = 0,
    kinds: Sequence[Kind] = ("order", "archive", "send", "set", "add"),
    starts: int = 0,
) -> Iterator[Task]:
    """Tasks of the kinds in turn, no two alike.

    Args:
        starts: how many states of the world they begin in; 0: each in its own. Few of them can be
            recorded.

    Raises:
        ConfigError: a kind that there is not, or fewer tasks than asked for.
    """
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or not kinds:
        raise ConfigError(f"no kind of task {unknown}", where="kinds", fix=f"use {list(KINDS)}")
    seen: set[str] = set()
    for number in range(count):
        kind = kinds[number % len(kinds)]
        for attempt in range(ATTEMPTS):
            rng = random.Random(derive_seed(seed, "task", number, attempt))
            first = rng.randrange(starts) if starts else derive_seed(seed, number, attempt)
            begin = _begin(random.Random(derive_seed(seed if not starts else 0, "start", first)))
            task = _task(KINDS[kind](begin, rng), kind, f"{kind}-{seed}-{number}")
            if (key := json.dumps([task.prompt, task.payload])) not in seen:
                seen.add(key)
                yield task
                break
        else:
            fix = "ask for fewer, for more kinds, or for more starts"
            raise ConfigError(f"there are only about {number} such tasks", where="count", fix=fix)


def _task(plan: Plan, kind: str, name: str) -> Task:
    proof = {
        "page": f"{ORIGIN}/{plan.app}/{plan.page}.html",
        "shows": plan.shows,
        "lacks": plan.lacks,
    }
    return Task(
        name,
        plan.prompt,
        environment="gui",
        payload={
            "start": f"{ORIGIN}/{plan.app}/index.html",
            "storage": {ORIGIN: {KEY: json.dumps(plan.start)}},
        },
        reference={
            "check": f"JSON.parse(localStorage.getItem({KEY!r}))",
            "state": plan.goal,
            "proof": [proof],
        },
        metadata={"app": plan.app, "kind": kind},
    )
