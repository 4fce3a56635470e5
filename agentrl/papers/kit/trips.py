"""Trips to towns with trains and hotels of their own, planned from recorded answers.

Which of a town's trains comes in time, and which hotel is near the station, no tool tells: it is
learned by trying, and what was learned of one town says nothing of another. In most towns every
plan holds that was looked up; in a few only one does.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

from agentrl.core import Attempt, Episode, Score, Task, derive_seed
from agentrl.engines import ScriptedEngine
from agentrl.environments.simulated import CallCache, SimulatedEnvironment
from agentrl.episodes import Limits, Runner, Scheduler, dialect
from agentrl.rewards.judges.scripted import ScriptedChat
from agentrl.rewards.process.hierarchy import Hierarchical

if TYPE_CHECKING:
    from pathlib import Path

    from agentrl.models import Policy

TAIL, EASY, DAYS = 6, 12, 10
"""Towns where one plan holds, towns where all do, and trips to each of the latter."""
KINDS = ("train", "hotel")
OFFERS, FIRST = 6, 100
"""Trains, and hotels, of a town; their ids begin after those of towns and days."""
ATTENTIVE = 0.9
"""How often the traveller of the warm start asks about the town that it plans for."""
PLAN = '{{"train": {}, "hotel": {}}}'
TURNS, TOKENS, MESSAGE = 2, 400, 16
"""Of an episode: messages, tokens; tokens of a message."""
FOR_TAIL = 0.5
"""Share of the traveller's trips that go to the tail, so that the policy knows those towns too."""
FENCED = re.compile(r"<data-(\w+) (\w+)>\n(.*?)\n</data-\1>", re.DOTALL)


def offers(kind: str, town: int) -> range:
    """Ids of a town's trains or hotels; no other town has them."""
    first = FIRST + (town * len(KINDS) + KINDS.index(kind)) * OFFERS
    return range(first, first + OFFERS)


def trips(seed: int) -> Iterator[Task]:
    """The hard tail first: one trip to each town where one plan holds."""
    rng = random.Random(derive_seed(seed, "towns"))
    for town in range(TAIL + EASY):
        tail = town < TAIL
        good = {k: sorted(rng.sample(offers(k, town), 1 if tail else OFFERS)) for k in KINDS}
        for day in range(1 if tail else DAYS):
            yield trip(town, day, good, tail)


def trip(town: int, day: int, good: dict[str, list[int]], tail: bool) -> Task:
    tools = [{"name": f"{kind}s", "parameters": TOWN} for kind in KINDS]
    return Task(
        f"trip-{town}-{day}",
        f"A trip to town {town}, day {day}.",
        environment="trips",
        payload={"tools": tools},
        reference={"rubric": json.dumps(good)},
        metadata={"tail": tail},
    )


TOWN = {"type": "object", "properties": {"town": {"type": "integer"}}, "required": ["town"]}


def record(path: Path) -> None:
    """Every tool's answer about every town; there are no tools behind it."""
    with closing(CallCache(path, mode="record")) as cache:
        for town in range(TAIL + EASY):
            for kind in KINDS:
                cache.put(f"{kind}s", {"town": town}, list(offers(kind, town)))


def traveller(seed: int) -> Generator[str, str, None]:
    """Looks things up, now and then about another town, and takes what it takes."""
    rng = random.Random(seed)
    asked = re.search(r"town (\d+)", (yield ""))
    assert asked is not None
    town = int(asked[1])
    about = town if rng.random() < ATTENTIVE else rng.randrange(TAIL + EASY)
    yield look(about)
    yield PLAN.format(*(rng.choice(offers(kind, town)) for kind in KINDS))


def shown(count: int) -> list[Attempt]:
    """Trips for the traveller; what holds in the towns that it sees is drawn for no run."""
    rng = random.Random(derive_seed(0, "shown"))
    tail, easy = by_tail(trips(derive_seed(0, "shown", "towns")))
    return [
        Attempt(rng.choice(tail if rng.random() < FOR_TAIL else easy), derive_seed(0, "show", n))
        for n in range(count)
    ]


async def travelled(policy: Policy, calls: Path, count: int) -> list[Episode]:
    """The traveller's trips, judged."""
    cache = CallCache(calls)
    runner = Runner(
        ScriptedEngine(traveller, policy.tokenizer),
        policy.tokenizer,
        dialect("pythonic"),
        lambda: SimulatedEnvironment(cache=cache),
        TripReward(),
        Limits(turns=TURNS, tokens=TOKENS, tokens_per_turn=MESSAGE),
        source="script",
    )
    return await Scheduler(runner, 256).attempt(shown(count))


def by_tail(tasks: Iterable[Task]) -> tuple[list[Task], list[Task]]:
    """(the tail, the others)."""
    found = list(tasks)
    return [t for t in found if t.metadata["tail"]], [t for t in found if not t.metadata["tail"]]


def look(town: int) -> str:
    return f"[trains(town={town}), hotels(town={town})]"


def verdict(text: str, seed: int = 0) -> dict[str, Any]:
    """What a model would be asked, by rules: does the plan keep to the rubric; does an answer of
    the tools have all that it names."""
    given = {name: said for _, name, said in FENCED.findall(text)}
    plan = _plan(given["result"])
    if plan is None:
        return {"passes": False, "reason": "no plan"}
    if "rubric" in given:
        good = json.loads(given["rubric"])
        return {"passes": all(plan[kind] in good[kind] for kind in KINDS)}
    shown = {int(number) for number in re.findall(r"\d+", given["turn"])}
    return {"passes": set(plan.values()) <= shown}


def _plan(text: str) -> dict[str, int] | None:
    try:
        plan = json.loads(text)
    except (ValueError, RecursionError):
        return None
    whole = isinstance(plan, dict) and set(plan) == set(KINDS)
    return plan if whole and all(type(n) is int for n in plan.values()) else None


class TripReward:
    """`Hierarchical` with rules in the place of a judging model."""

    name = "trip"

    async def score(self, episode: Episode) -> Score:
        return await Hierarchical(ScriptedChat(verdict)).score(episode)
