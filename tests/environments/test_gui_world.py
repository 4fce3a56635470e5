"""The world: its tasks, and that doing them in a real browser is seen and can be proved."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from agentrl.core import ConfigError, Episode, Status, Task, Turn
from agentrl.environments.gui import GuiEnvironment, Screens
from agentrl.environments.gui.browser import BrowserScreens
from agentrl.environments.gui.filmstrip import film_page, frames
from agentrl.environments.gui.principles import PRINCIPLES
from agentrl.environments.gui.recording import RecordedScreens, Recording, parity
from agentrl.environments.gui.world import KINDS, ORIGIN, SITE, make_tasks
from agentrl.episodes import dialect
from agentrl.rewards import EvidenceReward, judge
from examples.gui.agent import careless, expert

pytestmark = pytest.mark.timeout(900)  # wall time, where many share the cores


def test_tasks_are_distinct_and_exact():
    tasks = list(make_tasks(70, seed=1, kinds=tuple(KINDS)))
    assert len({json.dumps([t.prompt, t.payload]) for t in tasks}) == 70
    assert tasks == list(make_tasks(70, seed=1, kinds=tuple(KINDS)))
    for task in tasks:
        before = json.loads(task.payload["storage"][ORIGIN]["world"])
        changed = [key for key in before if before[key] != task.reference["state"][key]]
        assert len(changed) == 1, task.id
        (proof,) = task.reference["proof"]
        assert proof["shows"] or proof["lacks"]
        for url in (proof["page"], task.payload["start"]):
            assert (SITE / url.removeprefix(f"{ORIGIN}/")).is_file()


def test_few_beginnings_are_shared_by_every_seed():
    begins = {t.payload["storage"][ORIGIN]["world"] for t in make_tasks(30, seed=1, starts=2)}
    assert len(begins) == 2
    assert begins == {
        t.payload["storage"][ORIGIN]["world"] for t in make_tasks(30, seed=2, starts=2)
    }
    with pytest.raises(ConfigError, match="only about"):
        list(make_tasks(1000, kinds=("archive",), starts=1))
    with pytest.raises(ConfigError, match="no kind"):
        list(make_tasks(1, kinds=("fly",)))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser():
    screens = BrowserScreens({"world": SITE}, viewport=(640, 420))
    yield screens
    await screens.close()


async def play(screens: Screens, task: Task, script, seed: int = 0, **settings) -> Episode:
    environment = GuiEnvironment(screens, instructions=PRINCIPLES, **settings)
    episode = Episode(task, id=f"{task.id}/{seed}")
    agent, reads = script(seed), dialect("pythonic")
    try:
        messages = episode.prompt = await environment.reset(task)
        next(agent)
        while True:
            said = agent.send("\n".join(message.content for message in messages))
            none = np.zeros(0, np.float32)
            episode.turns.append(Turn(none, none, said, reads.parse(said)))
            observation = await environment.step(episode.turns[-1])
            messages = episode.turns[-1].observations = observation.messages
            if observation.done:
                break
        episode.outcome = await environment.finish(episode)
    finally:
        await environment.close()
    episode.status = Status.COMPLETED
    await judge(EvidenceReward(), episode)
    return episode


@pytest.mark.asyncio(loop_scope="module")
async def test_every_kind_can_be_done_and_proved_in_a_browser(browser):
    for task in make_tasks(len(KINDS), seed=5, kinds=tuple(KINDS)):
        episode = await play(browser, task, expert, screenshots=False)
        assert episode.outcome["solved"] is True, task.prompt
        assert episode.reward == 1.0, (task.prompt, episode.scores["reward"].evidence)
        # The page that the action led to proves nothing.
        submitted = episode.turns[-1].calls[-1]
        submitted.arguments["evidence"] = [episode.outcome["evidence"][0] - 1]
        episode.outcome["evidence"] = submitted.arguments["evidence"]
        assert (await EvidenceReward().score(episode)).value < 1.0, task.prompt


@pytest.mark.asyncio(loop_scope="module")
async def test_the_recording_that_ships_says_what_the_browser_shows(browser):
    """In words, places and state; and its tasks can be done in it."""
    recording = Recording.open(SITE.parent / "recorded" / "archive")
    tasks = list(make_tasks(4, kinds=("archive",), starts=1))
    assert await parity(recording, browser, tasks, walks=4, steps=4) == []
    for task in tasks:
        episode = await play(RecordedScreens(recording), task, expert, screenshots=False)
        assert (await EvidenceReward().score(episode)).value == 1.0


@pytest.mark.asyncio(loop_scope="module")
async def test_the_judge_of_pictures_is_shown_the_screens(browser):
    from agentrl.rewards.judges.scripted import ScriptedChat

    (task,) = make_tasks(1, seed=6, kinds=("set",))
    episode = await play(browser, task, expert)
    model = ScriptedChat(lambda text, seed: {"valid": True, "success": True})
    score = await EvidenceReward(model, show="image").score(episode)
    assert score.value == 1.0
    shown = model.conversations[0][-1]
    assert [image.data[:4] for image in shown.images] == [b"\x89PNG"]
    assert "Overview" not in shown.content.split("The evidence:")[1]
    assert PRINCIPLES in episode.prompt[0].content


@pytest.mark.asyncio(loop_scope="module")
async def test_a_film_strip_shows_every_round_its_marks_and_the_evidence(browser):
    (task,) = make_tasks(1, seed=7, kinds=("order",))
    episode = await play(browser, task, expert)
    made = frames(episode)
    assert [frame.number for frame in made] == list(range(len(episode.outcome["rounds"]) - 1))
    assert [frame.number for frame in made if frame.evidence] == episode.outcome["evidence"]
    for frame, following in zip(made, episode.outcome["rounds"][1:], strict=True):
        assert frame.point == (tuple(following["point"]) if following["point"] else None)
    page = film_page([episode])
    assert page.count("data:image/png;base64,") == len(made)
    assert page.count('class="ring"') == len(made) - 1
    hidden = [f for f in made if f.point and not 0 <= f.point[1] < f.size[1]]
    assert page.count("<polygon") == len(hidden)
    assert page.count('class="badge"') == 1
    assert not re.search(r'(?:src|href)="(?!data:)', page), "it needs no other file"


@pytest.mark.asyncio(loop_scope="module")
async def test_a_film_strip_of_text_is_escaped(browser):
    (task,) = make_tasks(1, seed=8, kinds=("send",))
    episode = await play(browser, task, careless, seed=1, screenshots=False)
    episode.turns[0].results[0].text = "## Round 1\n<script>alert(1)</script>"
    episode.outcome["message"] = "<b>done</b>"
    page = film_page([episode])
    assert "<script>" not in page
    assert "<b>done" not in page
    assert "<pre" in page
