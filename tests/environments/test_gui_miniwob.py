"""MiniWoB++ in short; `benchmarks/miniwob_tasks.py --experts --compare` does all of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio
from gui_kit import Session

from agentrl.core import Episode
from agentrl.environments.gui import GuiEnvironment
from agentrl.environments.gui.browser import BrowserScreens
from agentrl.environments.gui.miniwob import (
    MiniWobReward,
    miniwob_names,
    miniwob_site,
    miniwob_task,
)
from agentrl.environments.gui.miniwob.compare import Attempt, Ending, compare, ending
from agentrl.environments.gui.miniwob.experts import EXPERTS
from agentrl.environments.gui.miniwob.hand import Hand, Missing
from agentrl.environments.gui.miniwob.official import OfficialScreens

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def screens() -> AsyncIterator[BrowserScreens]:
    screens = BrowserScreens(miniwob_site())
    yield screens
    await screens.close()


async def test_the_package_has_the_tasks_that_the_experts_know() -> None:
    names = miniwob_names()
    assert len(names) >= 120
    assert set(EXPERTS) <= set(names)
    assert len(EXPERTS) >= 40


async def test_a_seed_gives_the_same_task_again(screens: BrowserScreens) -> None:
    said = []
    for seed in (3, 3, 4):
        do = await Session(screens).start(miniwob_task("click-checkboxes", seed))
        said.append(do.text)
        await do.close()
    assert said[0] == said[1] != said[2]
    assert "Last reward" not in said[0]


async def test_experts_get_the_whole_reward(screens: BrowserScreens) -> None:
    places = asyncio.Semaphore(4)

    async def played(name: str) -> Any:
        async with places:
            try:
                end = await ending(screens, name, 5, EXPERTS[name])
            except Missing as error:
                return str(error)
            return end.done, end.reward

    # A third of them, which takes 25 s; benchmarks/miniwob_tasks.py plays all.
    names = sorted(EXPERTS)[::3]
    ends = await asyncio.gather(*map(played, names))
    assert {name: end for name, end in zip(names, ends, strict=True) if end != (True, 1)} == {}


async def test_an_expert_sees_only_what_the_observation_says(screens: BrowserScreens) -> None:
    env = GuiEnvironment(screens, screenshots=False, max_elements=3)
    try:
        hand = await Hand.take(env, miniwob_task("click-checkboxes-large", 5))
        assert len(hand.elements) == 3 < len(env.view.elements)
        with pytest.raises(Missing):
            await EXPERTS["click-checkboxes-large"](hand)
    finally:
        await env.close()


async def test_episode_ends_with_the_page_and_is_judged(screens: BrowserScreens) -> None:
    do = await Session(screens).start(miniwob_task("click-test-2", 1))
    try:
        await do("click", "button TWO")
        assert do.env.done
        outcome = await do.outcome()
        assert outcome["ended"] == "over"
        score = await MiniWobReward().score(Episode(do.env.task, outcome=outcome))
        assert score.value == -1.0
    finally:
        await do.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def official() -> AsyncIterator[OfficialScreens]:
    screens = OfficialScreens()
    yield screens
    await screens.close()


SAMPLE = [
    "click-checkboxes",
    "drag-sort-numbers",
    "phone-book",
]


@pytest.mark.parametrize("name", SAMPLE)
async def test_reward_agrees_with_the_official_environment(
    screens: BrowserScreens, official: OfficialScreens, name: str
) -> None:
    attempts = await compare(screens, official, name, 0)
    assert all(attempt.agrees for attempt in attempts), attempts
    solved, wrong, late = attempts
    assert (solved.theirs.reward, solved.theirs.decays) == (1, True)
    assert wrong.theirs.done
    assert wrong.theirs.reward < 1
    assert (late.theirs.reward, late.theirs.reason) == (-1, "timed out")


@pytest.mark.parametrize(
    "change",
    [
        {"brief": "Click."},
        {"done": False},
        {"reward": 0.9},
        {"reason": "because"},
        {"discounted": 1.0},
        {"discounted": 0.8},
    ],
)
async def test_what_differs_in_any_way_does_not_agree(change: dict[str, Any]) -> None:
    end = Ending("Press.", True, 1.0, 0.95, None, seconds=1.0, limit=10.0)
    assert Attempt("x", "solved", end, end).agrees
    assert not Attempt("x", "solved", end, replace(end, **change)).agrees
    assert not Attempt("x", "solved", replace(end, **change), end).agrees
