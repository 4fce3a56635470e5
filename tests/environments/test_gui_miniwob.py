"""MiniWoB++ in short; `benchmarks/miniwob_tasks.py --experts --compare` does all of it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from gui_kit import Session

from agentrl.core import Episode
from agentrl.environments.gui.browser import BrowserScreens
from agentrl.environments.gui.miniwob import (
    MiniWobReward,
    miniwob_names,
    miniwob_site,
    miniwob_task,
)
from agentrl.environments.gui.miniwob.compare import compare
from agentrl.environments.gui.miniwob.experts import EXPERTS
from agentrl.environments.gui.miniwob.hand import Hand
from agentrl.environments.gui.miniwob.tasks import CHECK

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


@pytest.mark.parametrize("name", ["click-dialog", "enter-date", "choose-list", "simple-algebra"])
async def test_an_expert_gets_the_whole_reward(screens: BrowserScreens, name: str) -> None:
    screen = await screens.open(miniwob_task(name, 5))
    try:
        hand = await Hand.take(screen)
        await EXPERTS[name](hand)
        assert await screen.ask(CHECK) == {"done": True, "reward": 1}
        assert hand.view.over
    finally:
        await screen.close()


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


@pytest.mark.parametrize("name", ["click-option", "enter-text"])
async def test_reward_agrees_with_the_official_environment(
    screens: BrowserScreens, name: str
) -> None:
    """Solved, wrong and timed out."""
    attempts = await compare(screens, name, 2)
    assert [attempt.theirs["reward"] for attempt in attempts][::2] == [1, -1]
    assert attempts[1].theirs["reward"] < 1
    assert all(attempt.agrees for attempt in attempts), attempts
