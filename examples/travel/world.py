"""A small country with trains, hotels and sights: live tools, tasks, and what a plan must keep to.

The tools are slow in the real world, so that an agent is trained on their recorded answers: see
`CallCache`. A plan is JSON in the last message:

    {"train": "T2", "hotel": "H1", "sights": ["S3", "S4"]}
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from agentrl.core import Check, Episode, Score, Task, derive_seed

CITIES = ("Arden", "Brill", "Corva", "Delph")
TOOLS: list[dict[str, Any]] = [
    {
        "name": "trains",
        "description": "Trains to a city.",
        "parameters": {
            "type": "object",
            "properties": {"to": {"type": "string", "enum": list(CITIES)}},
            "required": ["to"],
        },
    },
    {
        "name": "hotels",
        "description": "Hotels of a city, with the price of a night.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "enum": list(CITIES)}},
            "required": ["city"],
        },
    },
    {
        "name": "sights",
        "description": "Sights of a city, with their opening hours.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "enum": list(CITIES)}},
            "required": ["city"],
        },
    },
]
POLICY = (
    "Plan a day trip. Look everything up with the tools. End with the plan as JSON: "
    '{"train": id, "hotel": id, "sights": [id, ..]}.'
)


def _city(city: str) -> dict[str, list[dict[str, Any]]]:
    rng = random.Random(derive_seed(7, city))
    letter = city[0]
    trains = [
        {"id": f"T{letter}{i}", "arrives": rng.randint(7, 14), "price": rng.randint(10, 60)}
        for i in range(4)
    ]
    hotels = [{"id": f"H{letter}{i}", "price": rng.randint(40, 160)} for i in range(4)]
    sights = [
        {"id": f"S{letter}{i}", "opens": (o := rng.randint(8, 13)), "closes": o + rng.randint(2, 7)}
        for i in range(5)
    ]
    return {"trains": trains, "hotels": hotels, "sights": sights}


async def trains(arguments: dict[str, Any]) -> Any:
    return _city(arguments["to"])["trains"]


async def hotels(arguments: dict[str, Any]) -> Any:
    return _city(arguments["city"])["hotels"]


async def sights(arguments: dict[str, Any]) -> Any:
    return _city(arguments["city"])["sights"]


LIVE = {"trains": trains, "hotels": hotels, "sights": sights}


def make_tasks(count: int, *, seed: int = 0, sights_wanted: int = 1) -> Iterator[Task]:
    """Trips that can be made: the budget is that of some plan plus a margin.

    Args:
        sights_wanted: to be seen after arrival, before they close.
    """
    for i in range(count):
        rng = random.Random(derive_seed(seed, "trip", i))
        city = rng.choice(CITIES)
        found = _city(city)
        cheapest = min(t["price"] for t in found["trains"] if _open(found, t, sights_wanted))
        margin = rng.choice([0, 10, 40])
        budget = cheapest + min(h["price"] for h in found["hotels"]) + margin
        yield Task(
            f"trip-{seed}-{i}",
            f"A trip to {city} for at most {budget}, with {sights_wanted} sights.",
            environment="travel",
            payload={"tools": TOOLS, "policy": POLICY},
            reference={"city": city, "budget": budget, "sights": sights_wanted},
            metadata={"tight": margin == 0},
        )


def _open(found: dict[str, Any], train: dict[str, Any], wanted: int) -> bool:
    return sum(s["closes"] > train["arrives"] for s in found["sights"]) >= wanted


def plan_of(episode: Episode) -> dict[str, Any] | None:
    """The plan of the last message, None when there is none that can be read."""
    text = episode.turns[-1].text if episode.turns else ""
    start = text.find("{")
    try:
        plan = json.loads(text[start:]) if start >= 0 else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(plan, dict) or not isinstance(plan.get("sights"), list):
        return None
    return plan


async def feasible(episode: Episode) -> bool:
    """The trajectory's verdict: one train, one hotel, sights open after arrival, within budget."""
    plan, wanted = plan_of(episode), episode.task.reference
    if plan is None:
        return False
    found = _city(wanted["city"])
    by_id = {kind: {x["id"]: x for x in items} for kind, items in found.items()}
    train = by_id["trains"].get(str(plan.get("train")))
    hotel = by_id["hotels"].get(str(plan.get("hotel")))
    seen = [by_id["sights"].get(str(name)) for name in plan["sights"]]
    if train is None or hotel is None or None in seen:
        return False
    return (
        train["price"] + hotel["price"] <= wanted["budget"]
        and len({s["id"] for s in seen if s}) >= wanted["sights"]
        and all(s["closes"] > train["arrives"] for s in seen if s)
    )


async def grounded(episode: Episode, number: int) -> bool:
    """A turn's verdict: every id that it names was in an answer of a tool before it."""
    turn = episode.turns[number]
    if turn.calls:
        return all(result.ok for result in turn.results)
    plan = plan_of(episode)
    named = [plan.get("train"), plan.get("hotel"), *plan["sights"]] if plan else []
    shown = " ".join(r.text for t in episode.turns[:number] for r in t.results)
    return all(f'"{name}"' in shown for name in named)


@dataclass(slots=True)
class TripReward:
    """1 for a plan that is feasible and every part of it looked up (DeepTravel, paper 18).

    By rules, what `hierarchical` asks a judge: turns are looked at only when the plan holds, and
    no further than the first that does not.
    """

    name: str = "trip"

    async def score(self, episode: Episode) -> Score:
        if not await feasible(episode):
            return Score(0.0, [Check("plan", 0.0, False)], evidence="the plan does not hold")
        for number in range(len(episode.turns)):
            if not await grounded(episode, number):
                return Score(0.0, [Check("plan", 1.0, True)], evidence=f"turn {number} fails")
        return Score(1.0, [Check("plan", 1.0, True), Check("turns", 1.0, True)])
