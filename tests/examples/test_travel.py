"""The travel world: recorded once, played without its tools, judged plan first."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from agentrl.core import Episode, Task, ToolCall, Turn
from agentrl.environments.simulated import CallCache, SimulatedEnvironment
from agentrl.environments.simulated.tools import LiveTools
from agentrl.store import RunStore
from examples.travel import world
from examples.travel.agent import hasty

DEMO = Path(__file__).resolve().parents[2] / "examples" / "travel" / "demo.py"


def turn(text: str, *calls: ToolCall) -> Turn:
    return Turn(np.zeros(0, np.int32), np.zeros(0, np.float32), text, calls=list(calls))


def look(city: str) -> list[ToolCall]:
    return [
        ToolCall("trains", {"to": city}),
        ToolCall("hotels", {"city": city}),
        ToolCall("sights", {"city": city}),
    ]


async def planned(environment: SimulatedEnvironment, task: Task, blind: bool = False) -> Episode:
    """Look everything up, take the cheapest that fits; or (`blind`) name it without looking."""
    episode = Episode(task)
    await environment.reset(task)
    first = turn("", *(look(task.reference["city"]) if not blind else []))
    found: list[Any] = []
    if blind:
        found = list(world._city(task.reference["city"]).values())
    else:
        await environment.step(first)
        episode.turns.append(first)
        found = [json.loads(result.text) for result in first.results]
    trains, hotels, sights = found
    wanted = task.reference["sights"]
    fitting = [
        (t["price"], t["id"], [s["id"] for s in sights if s["closes"] > t["arrives"]][:wanted])
        for t in trains
    ]
    _, train, seen = min(f for f in fitting if len(f[2]) == wanted)
    hotel = min(hotels, key=lambda h: h["price"])["id"]
    last = turn(json.dumps({"train": train, "hotel": hotel, "sights": seen}))
    episode.turns.append(last)
    assert (await environment.step(last)).done
    return episode


@pytest.mark.parametrize("sights", [1, 2])
async def test_recorded_once_every_trip_is_planned_without_the_tools(tmp_path, sights):
    tasks = list(world.make_tasks(20, sights_wanted=sights))
    recording = CallCache(tmp_path / "calls.jsonl", mode="record")
    reward = world.TripReward()
    for task in tasks:
        live = SimulatedEnvironment(cache=recording, fallback=LiveTools(world.LIVE))
        assert (await reward.score(await planned(live, task))).value == 1
    recording.close()
    assert len(recording) <= 3 * len(world.CITIES)
    replay = CallCache(tmp_path / "calls.jsonl")
    for task in tasks:
        episode = await planned(SimulatedEnvironment(cache=replay), task)
        assert (await reward.score(episode)).value == 1
    assert replay.misses == 0


async def test_a_plan_that_nothing_shown_backs_is_not_grounded():
    (task,) = world.make_tasks(1)
    episode = await planned(SimulatedEnvironment(), task, blind=True)
    score = await world.TripReward().score(episode)
    assert (score.value, score.evidence) == (0.0, "turn 0 fails")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"sights": 1}', '{"sights": ["S"]}', "{" * 9999])
async def test_a_plan_that_is_none_is_judged_once(monkeypatch, text):
    async def never(episode: Episode, number: int) -> bool:
        raise AssertionError("a turn was judged")

    monkeypatch.setattr(world, "grounded", never)
    (task,) = world.make_tasks(1)
    assert (await world.TripReward().score(Episode(task, turns=[turn(text)]))).value == 0


async def test_turns_are_judged_up_to_the_first_that_fails(monkeypatch):
    asked: list[int] = []

    async def third_fails(episode: Episode, number: int) -> bool:
        asked.append(number)
        return number != 2

    async def holds(episode: Episode) -> bool:
        return True

    monkeypatch.setattr(world, "grounded", third_fails)
    monkeypatch.setattr(world, "feasible", holds)
    episode = Episode(Task("t", ""), turns=[turn("") for _ in range(4)])
    score = await world.TripReward().score(episode)
    assert (score.value, score.evidence, asked) == (0.0, "turn 2 fails", [0, 1, 2])


def test_the_script_asks_for_all_and_plans_from_the_answers():
    cheapest = 0
    (task,) = world.make_tasks(1)
    found = world._city(task.reference["city"])
    for seed in range(60):
        script = hasty(seed)
        next(script)
        city = task.reference["city"]
        asked = script.send(task.prompt)
        assert asked == f'[trains(to="{city}"), hotels(city="{city}"), sights(city="{city}")]'
        answers = " ".join(json.dumps(found[kind]) for kind in ("trains", "hotels", "sights"))
        plan = json.loads(script.send(answers))
        assert plan["train"] in {t["id"] for t in found["trains"]}
        assert {*plan["sights"]} <= {s["id"] for s in found["sights"]}
        cheapest += plan["hotel"] == min(found["hotels"], key=lambda h: h["price"])["id"]
    assert 15 < cheapest < 45


@pytest.mark.timeout(1800)  # wall time where many share the cores
def test_the_demo_from_end_to_end_in_the_small(tmp_path):
    short = ["train.steps=2", "train.tasks_per_step=2", "warmstart.epochs=1"]
    done = subprocess.run(
        [
            *[sys.executable, str(DEMO), "--dir", str(tmp_path / "run"), "--trips", "4"],
            *[*short, "warmstart.attempts=2", "learner.group_size=2", "eval.samples=1"],
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode in (0, 1), done.stderr[-2000:]
    assert "held-out trips, seed 0" in done.stdout
    assert "failed trips tried again" in done.stdout
    with RunStore.open(tmp_path / "run" / "run", read_only=True) as store:
        events = store.failure_log(read_only=True).events()
        assert {e.step for e in events if e.event == "failed"} <= {1, 2}
        assert store.metrics("train/replay/waiting")
    assert len(CallCache(tmp_path / "run" / "calls.jsonl")) == 3 * len(world.CITIES)
