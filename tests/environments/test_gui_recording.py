"""Recordings: what is written, what is played back, and what happens off the recorded path."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from gui_kit import NOTES, STORED, Session, notes_task
from hypothesis import given, settings
from hypothesis import strategies as st

from agentrl.core import ConfigError, InfraError, TaskFileError
from agentrl.environments.gui import Action, Element, View
from agentrl.environments.gui.browser import BrowserScreens
from agentrl.environments.gui.recording import (
    Edge,
    Node,
    RecordedScreens,
    Recording,
    RecordingScreens,
    explore,
    parity,
)
from agentrl.environments.gui.recording.explore import actions_of
from agentrl.environments.gui.recording.past import Past, action_key
from agentrl.environments.gui.world import SITE, make_tasks

live_test = pytest.mark.asyncio(loop_scope="module")
# A page of few controls, so that the whole of its graph is a matter of seconds.
LIST = {"start": "http://notes.test/list.html"}
SHIPPED = SITE.parent / "recorded" / "archive"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def live() -> AsyncIterator[BrowserScreens]:
    screens = BrowserScreens({"notes": NOTES}, viewport=(500, 400))
    yield screens
    await screens.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def folder(live: BrowserScreens, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The list page explored, and one walk of an expert over the first page."""
    recording = Recording(tmp_path_factory.mktemp("recorded") / "notes")
    recorder = RecordingScreens(live, recording)
    explored = await explore(recorder, [notes_task(**LIST)], max_steps=200, max_depth=2)
    assert explored.complete, explored
    do = await Session(recorder).start(notes_task())
    await do("type", "textbox Title", text="milk")
    await do("click", "button Save")
    await do("select", "combobox Colour", option="mauve")
    await do("click", "button Clear")
    await do("click", "button OK")
    await do.close()
    recording.save()
    return recording.folder


async def play(screens: RecordedScreens) -> list[str]:
    do = await Session(screens, screenshots=True).start(notes_task())
    seen = [do.text]
    seen.append(await do("type", "textbox Title", text="milk"))
    seen.append(
        await do(
            "click",
            x=do.env._view.find(do.number("button Save")).centre[0],
            y=do.env._view.find(do.number("button Save")).centre[1],
        )
    )
    seen.append(await do("select", "combobox Colour", option="mauve"))
    seen.append(str((await do.outcome())["state"]))
    assert all(turn.results[-1].images for turn in do.turns[:-1])
    await do.close()
    return seen


@live_test
async def test_recording_plays_back_what_was_seen(folder: Path) -> None:
    """Points are clicks on elements; refusals, states and screenshots are kept."""
    one = await play(RecordedScreens(Recording.open(folder)))
    assert one == await play(RecordedScreens(Recording.open(folder)))
    assert 'listitem "milk white false"' in one[2]
    assert 'there are "white", "yellow", "blue"' in one[3]
    assert one[4] == "['milk white  false']"


@live_test
async def test_parity_holds_and_finds_a_changed_application(
    folder: Path, live: BrowserScreens, tmp_path: Path
) -> None:
    tasks = [notes_task(**LIST), notes_task()]
    recording = Recording.open(folder)
    assert await parity(recording, live, tasks, walks=4, steps=4) == []
    changed = tmp_path / "notes"
    shutil.copytree(NOTES, changed)
    page = changed / "index.html"
    page.write_text(page.read_text().replace(">Rename<", ">Call it<"))
    other = BrowserScreens({"notes": changed}, viewport=(500, 400))
    try:
        (difference,) = await parity(recording, other, [notes_task()], walks=1, steps=1)
        assert 'button "Rename"' in difference.recorded
        assert 'button "Call it"' in difference.live
    finally:
        await other.close()


@live_test
async def test_dialogs_are_recorded_with_what_is_under_them(
    live: BrowserScreens, tmp_path: Path
) -> None:
    """The dialog looks the same in both states, and may be answered in two ways."""
    recorder = RecordingScreens(live, Recording(tmp_path))
    titles = ("milk", "bread")
    for title in titles:
        do = await Session(recorder).start(notes_task())
        await do("type", "textbox Title", text=title)
        await do("click", "button Save")
        for answer in ("Cancel", "OK"):
            await do("click", "button Clear")
            await do("click", f"button {answer}")
        assert "listitem" not in do.text
        await do.close()
    recorder.recording.save()
    recording = Recording.open(tmp_path)
    assert recording.conflicts == []
    for title in titles:
        do = await Session(RecordedScreens(recording)).start(notes_task())
        await do("type", "textbox Title", text=title)
        await do("click", "button Save")
        assert "note: a dialog is open" in await do("click", "button Clear")
        assert (await do.outcome())["state"] == [f"{title} white  false"], "not as if dismissed"
        assert f'listitem "{title} white false"' in await do("click", "button Cancel")
        await do("click", "button Clear")
        assert "listitem" not in await do("click", "button OK")
        assert (await do.outcome())["state"] == []
    assert await parity(recording, live, [notes_task()], walks=2, steps=6) == []


async def test_exploring_sees_all_within_reach_and_goes_on_from_what_was_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is explored is itself a recording, which does not know every way back."""

    def forward(node: Node, texts: list[str]) -> list[Action]:
        return [action for action in actions_of(node, texts) if action.kind != "back"]

    monkeypatch.setattr(sys.modules[explore.__module__], "actions_of", forward)
    source = RecordedScreens(Recording.open(SHIPPED))
    recorder = RecordingScreens(source, Recording(tmp_path), screenshots=False)
    task = next(make_tasks(1, kinds=("archive",), starts=1))
    expert = await Session(recorder).start(task)
    await expert("click", "link Dan: Garden")
    await expert("click", "button Archive it")
    found = await explore(recorder, [task], max_steps=2000, max_depth=3)
    assert found.complete
    graph = recorder.recording
    (start,) = graph.starts.values()
    near, frontier = {start.node}, [start.node]
    for _ in range(2):
        frontier = [edge.to for id in frontier for edge in graph.edges[id].values()]
        near |= set(frontier)
    assert len(near) > 20
    for id in near:
        node, known = graph.nodes[id], graph.edges[id]
        assert {action_key(a, node.view, Past()) for a in forward(node, [])} <= set(known)


@live_test
async def test_back_leads_to_the_page_as_it_was_left(live: BrowserScreens, tmp_path: Path) -> None:
    """From one and the same state, by two ways to it."""
    recorder = RecordingScreens(live, Recording(tmp_path))
    found = []
    for source in (recorder, RecordedScreens(recorder.recording)):
        for title in ("milk", "bread"):
            do = await Session(source).start(notes_task())
            await do("type", "textbox Title", text=title)
            await do("click", "link All notes")
            found.append((do.env._screen.node.id, await do("back")))
            await do.close()
    assert found[:2] == found[2:]
    assert found[0][0] == found[1][0]
    assert recorder.recording.conflicts == []
    assert 'value="milk"' in found[0][1]
    assert 'value="bread"' in found[1][1]


@live_test
async def test_unseen_step_ends_the_episode_with_a_status(folder: Path) -> None:
    do = await Session(RecordedScreens(Recording.open(folder))).start(notes_task())
    text = await do("click", "checkbox Pinned")
    assert "does not know where click(element=" in text
    assert do.env.done
    outcome = await do.outcome()
    assert (outcome["ended"], outcome["rounds"][-1]["status"]) == ("unseen", "unseen")
    assert outcome["state"] == []


@live_test
async def test_unseen_step_goes_on_live_and_is_learned(
    folder: Path, live: BrowserScreens, tmp_path: Path
) -> None:
    copy = tmp_path / "recorded"
    shutil.copytree(folder, copy)
    recording = Recording.open(copy)
    screens = RecordedScreens(recording, live, extend=True)
    do = await Session(screens).start(notes_task())
    await do("type", "textbox Title", text="milk")
    assert 'checkbox "Pinned" focused checked' in await do("click", "checkbox Pinned")
    assert 'listitem "milk white true"' in await do("click", "button Save")
    outcome = await do.outcome()
    assert (outcome["live"], outcome["state"]) == (True, ["milk white  true"])
    await do.close()
    recording.save()
    again = await Session(RecordedScreens(Recording.open(copy))).start(notes_task())
    await again("type", "textbox Title", text="milk")
    await again("click", "checkbox Pinned")
    assert 'listitem "milk white true"' in await again("click", "button Save")


@live_test
async def test_a_stale_recording_is_not_continued_live(folder: Path, tmp_path: Path) -> None:
    changed = tmp_path / "notes"
    shutil.copytree(NOTES, changed)
    page = changed / "index.html"
    page.write_text(page.read_text().replace("<h1>Notes", "<h1>My notes"))
    other = BrowserScreens({"notes": changed}, viewport=(500, 400))
    try:
        do = await Session(RecordedScreens(Recording.open(folder), other)).start(notes_task())
        with pytest.raises(InfraError) as error:
            await do("click", "checkbox Pinned")
        assert error.value.cause == "recording_stale"
    finally:
        await other.close()


@live_test
async def test_folder_is_text_that_is_stable_and_checked(folder: Path, tmp_path: Path) -> None:
    before = {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    Recording.open(folder).save()
    after = {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert before == after, "reading and saving changes the files"
    rows = [json.loads(line) for line in (folder / "transitions.jsonl").read_text().splitlines()]
    assert rows == sorted(rows, key=lambda row: (row["from"], row["action"]))
    copy = tmp_path / "broken"
    shutil.copytree(folder, copy)
    (copy / "nodes" / f"{rows[0]['to']}.json").unlink()
    with pytest.raises(ConfigError, match="are not there"):
        Recording.open(copy)
    with pytest.raises(ConfigError, match="not a recording"):
        Recording.open(tmp_path)
    screens = RecordedScreens(Recording.open(folder))
    with pytest.raises(TaskFileError, match="does not have this task's scene"):
        await screens.open(notes_task(start="http://notes.test/slow.html"))


def view(*names: str) -> View:
    rows = [
        Element(n, "button", name, (0, 20 * n, 50, 20 * n + 20)) for n, name in enumerate(names, 1)
    ]
    return View("t", "u", (100, 100), rows)


def test_same_state_is_one_node_and_hidden_memory_tells_states_apart(tmp_path: Path) -> None:
    recording = Recording(tmp_path)
    one = recording.add(view("a"), {STORED: []}, "x")
    assert recording.add(replace(view("a"), notes=("told",)), {STORED: []}, "x") is one
    assert recording.add(view("a"), {STORED: [1]}, "x") is not one
    assert recording.add(view("a"), {STORED: []}, "y") is not one
    two = recording.add(view("b"), {}, "")
    assert recording.connect(one.id, "back()", Edge(two.id))
    assert not recording.connect(one.id, "back()", Edge(one.id))
    assert recording.edges[one.id]["back()"].to == two.id, "the first is kept"
    assert [c["also"] for c in recording.conflicts] == [one.id]


def test_click_on_a_point_is_the_click_on_what_is_there() -> None:
    shown = view("a", "b")
    assert action_key(Action("click", point=(10, 45)), shown, Past()) == "click(element=2)"
    assert action_key(Action("click", point=(90, 90)), shown, Past()) == "click(at=[90, 90])"
    canvas = View("", "", (100, 100), [Element(1, "canvas", "", (0, 0, 100, 100))])
    assert action_key(Action("click", point=(3, 4)), canvas, Past()) == "click(at=[3, 4])"


points = st.none() | st.tuples(st.integers(0, 999), st.integers(0, 999))
actions = st.builds(
    Action,
    st.sampled_from(["click", "type", "drag", "scroll", "wait"]),
    st.integers(0, 99),
    points,
    st.integers(0, 99),
    points,
    st.text(max_size=20),
    st.booleans(),
    st.floats(0, 30, allow_nan=False),
)


@settings(max_examples=50, deadline=None)
@given(actions)
def test_an_action_is_read_back_from_its_name(action: Action) -> None:
    assert str(Action.read(str(action))) == str(action)
