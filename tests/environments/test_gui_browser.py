"""A real Chromium, driven through the environment's tools."""

from __future__ import annotations

import io
import os
import re
import signal
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from aiohttp import web
from gui_kit import NOTES, Session, descendants, notes_task
from PIL import Image as Pictures

from agentrl.core import Episode, InfraError, Task, TaskFileError
from agentrl.environments.gui import rounds_of
from agentrl.environments.gui.browser import BrowserScreens

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def screens() -> AsyncIterator[BrowserScreens]:
    screens = BrowserScreens({"notes": NOTES, "other": NOTES}, viewport=(500, 400))
    yield screens
    await screens.close()


@pytest_asyncio.fixture(loop_scope="module")
async def do(screens: BrowserScreens) -> AsyncIterator[Session]:
    session = await Session(screens).start(notes_task())
    yield session
    await session.close()


async def test_the_first_round_shows_controls_with_numbers_and_nothing_hidden(do: Session) -> None:
    lines = do.text.splitlines()
    assert "## Round 0" in lines
    assert "Notes  http://notes.test/index.html" in lines
    assert '[1] heading "Notes"' in lines
    assert '[2] textbox "Title" value=""' in lines
    assert any(line.endswith('button "Delete" disabled') for line in lines)
    assert "never seen" not in do.text
    assert any("The end" in line and "offscreen" in line for line in lines)


async def test_form_is_filled_by_type_click_select_and_date(do: Session) -> None:
    await do("type", "textbox Title", text="milk")
    assert "key k" in do.text, "the page does not see real key events"
    await do("type", "textbox Title", text="bread")
    await do("click", "checkbox Pinned")
    await do("select", "combobox Colour", option="Yellow")
    await do("type", "textbox Day", text="2026-02-03")
    text = await do("click", "button Save")
    assert 'listitem "bread yellow 2026-02-03 true"' in text
    assert (await do.outcome())["state"] == ["bread yellow 2026-02-03 true"]


async def test_typing_nothing_clears_and_typing_at_the_focus_appends(do: Session) -> None:
    await do("type", "textbox Title", text="ab")
    assert 'textbox "Title" value="abc"' in await do("type", text="c")
    assert 'textbox "Title" value=""' in await do("type", "textbox Title", text="")


async def test_refusals_are_rounds_that_change_nothing(do: Session) -> None:
    cases = [
        (("click",), {"element": 99}, "there is no element 99"),
        (("click",), {}, "say where"),
        (("click",), {"x": 900, "y": 1}, "outside of the screen"),
        (("select", "combobox Colour"), {"option": "mauve"}, '"white", "yellow", "blue"'),
        (("select", "combobox Colour"), {"option": "blue"}, "cannot be chosen"),
        (("select", "button Save"), {"option": "x"}, "not a list"),
        (("type", "checkbox Pinned"), {"text": "x"}, "nothing can be typed into a checkbox"),
        (("type", "textbox Day"), {"text": "soon"}, 'a date field does not take "soon"'),
        (("key",), {"keys": "Any"}, "there is no key 'Any'"),
        (("back",), {}, "no page to go back to"),
        (("open",), {"url": "file:///etc/passwd"}, "cannot be reached"),
        (("open",), {"url": "http://127.0.0.1:1/"}, "cannot be reached"),
    ]
    for round, (call, arguments, said) in enumerate(cases, start=1):
        text = await do(*call, **arguments)
        assert text.startswith(f"## Round {round}\nerror: "), text
        assert said in text
    await do("click", element="not a number")  # type: ignore[arg-type]
    rows = (await do.outcome())["rounds"]
    assert [row["status"] for row in rows] == ["", *["refused"] * len(cases)]


async def test_links_back_and_windows(do: Session) -> None:
    assert "All notes  http://notes.test/list.html" in await do("click", "link All notes")
    assert "Notes  http://notes.test/index.html" in await do("back")
    text = await do("click", "link All notes in a window")
    assert "note: a new window opened" in text
    assert "list.html" in text
    text = await do("back")
    assert "note: the window was closed" in text
    assert "index.html" in text


async def test_a_dialog_is_a_screen_that_stops_the_page(do: Session) -> None:
    await do("click", "button Save")
    text = await do("click", "button Clear")
    assert "note: a dialog is open" in text
    assert 'text "Clear all notes?"' in text
    assert "answer it first" in await do("open", url="http://notes.test/list.html")
    assert "listitem" in await do("click", "button Cancel")
    await do("click", "button Clear")
    assert "listitem" not in await do("click", "button OK")
    await do("click", "button Rename")
    assert 'textbox "answer" value="mine"' in await do("type", "textbox answer", text="mine")
    assert 'text "mine"' in await do("key", keys="Enter")


async def test_leaving_a_page_that_asks_is_not_held_up(do: Session) -> None:
    await do("click", "link Leave")
    await do("type", "textbox touch", text="x")
    text = await do("click", "link Home")
    assert "index.html" in text
    assert "asked whether to leave" in text


async def test_what_a_click_starts_is_waited_for(do: Session) -> None:
    assert 'text "came late"' in await do("click", "button Later")


async def test_download_is_noted_and_hashed(do: Session) -> None:
    assert "note: downloaded hello.txt (5 bytes)" in await do("click", "link Download")
    (row,) = (await do.outcome())["downloads"]
    assert row["sha256"].startswith("2cf24dba5fb0a30e")


async def test_scroll_double_click_and_an_element_out_of_view(do: Session) -> None:
    assert "scroll further up" in await do("scroll", direction="up")
    await do("scroll", direction="down", amount=2000)
    assert any("The end" in line and "offscreen" not in line for line in do.text.splitlines())
    await do("scroll", direction="up", amount=2000)
    assert 'text "twice"' in await do("double_click", "button The end")


async def test_drag_frames_and_covered_elements(do: Session) -> None:
    await do("click", "link All notes")
    assert 'text "got card"' in await do("drag", "clickable card", "text drop here")
    assert 'button "pressed"' in await do("click", "button Inside")
    await do("click", "button Cover")
    assert 'covered by "in front"' in await do("click", "button Under")


async def test_nothing_else_can_be_reached(do: Session, screens: BrowserScreens) -> None:
    text = await do("click", "link Elsewhere")
    assert "chrome-error" in text
    assert "index.html" in await do("back")
    with pytest.raises(TaskFileError, match="in no site"):
        await screens.open(notes_task(start="http://elsewhere.test/"))
    with pytest.raises(TaskFileError, match="does not allow"):
        await screens.open(notes_task(allow=["http://127.0.0.1:9"]))


async def test_permissions_are_those_of_the_task(screens: BrowserScreens) -> None:
    ask = "navigator.permissions.query({name: 'geolocation'}).then((found) => found.state)"
    states = []
    for granted in ([], ["geolocation"], []):
        screen = await screens.open(notes_task(permissions=granted))
        states.append(await screen.ask(ask))
        await screen.close()
    assert states[1] == "granted"
    assert "granted" not in states[::2]


async def test_a_task_reaches_what_the_run_and_itself_allow() -> None:
    """By navigation, by fetch and by WebSocket."""
    served = []

    async def answer(request: web.Request) -> web.StreamResponse:
        served.append(request.path)
        return web.Response(text="there", content_type="text/html")

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    there = f"http://127.0.0.1:{port}"
    tried = f"""Promise.all([
        fetch('{there}/fetched', {{mode: 'no-cors'}}).then(() => 1, () => 0),
        new Promise((done) => {{ new WebSocket('ws://127.0.0.1:{port}/socket').onclose = done }}),
    ]).then(() => 1)"""
    screens = BrowserScreens({"notes": NOTES}, allow=[there])
    try:
        for allow in ([], [there]):
            do = await Session(screens).start(notes_task(allow=allow))
            assert await do.env._screen.ask(tried) == 1  # type: ignore[union-attr]
            text = await do("open", url=f"{there}/opened")
            assert ("cannot be reached" in text) == (not allow)
            await do.close()
            if not allow:
                assert served == []
        assert {"/fetched", "/socket", "/opened"} <= set(served)
    finally:
        await screens.close()
        await runner.cleanup()


async def test_contexts_share_nothing_and_the_browser_stays(screens: BrowserScreens) -> None:
    one, two = [await Session(screens).start(notes_task()) for _ in range(2)]
    stored = {"http://notes.test": {"notes": '["from before"]'}}
    three = await Session(screens).start(notes_task(storage=stored))
    try:
        await one("click", "button Save")
        assert "listitem" in one.text
        assert "listitem" not in await two("click", "link All notes")
        assert 'listitem "from before"' in three.text
    finally:
        for session in (one, two, three):
            await session.close()
    assert screens.launches == 1


async def test_each_episode_has_a_clipboard_of_its_own(screens: BrowserScreens) -> None:
    """The browser has one for all."""
    one, two, three = [await Session(screens).start(notes_task()) for _ in range(3)]
    try:
        for session, text in ((one, "mine"), (two, "yours")):
            await session("type", "textbox Title", text=text)
            await session("key", keys="Control+a")
            await session("key", keys="Control+c")
        for session in (one, two, three):
            await session("click", "link All notes")
            await session("back")
            await session("type", "textbox Title", text="to:")
            await session("key", keys="Control+v")
        pasted = [session.text.splitlines()[3] for session in (one, two, three)]
        assert pasted == [
            f'[2] textbox "Title" value="to:{text}" focused' for text in ("mine", "yours", "")
        ]
    finally:
        for session in (one, two, three):
            await session.close()


CLIPBOARD = "http://notes.test/clipboard.html"


async def test_the_clipboard_api_is_the_episodes_own_and_asks_the_tasks_permissions(
    screens: BrowserScreens,
) -> None:
    may = {"start": CLIPBOARD, "permissions": ["clipboard-read"]}
    one, two, barred = [
        await Session(screens).start(notes_task(**said))
        for said in (may, may, {"start": CLIPBOARD})
    ]
    try:
        for session in (one, barred):
            assert 'text "said: copied"' in await session("click", "button Copy the code")
        assert 'text "said: read code 17"' in await one("click", "button Paste")
        assert 'text "said: items 1 code 17"' in await one("click", "button Paste items")
        assert 'text "said: read"' in await two("click", "button Paste"), "another's clipboard"
        assert 'text "said: NotAllowedError"' in await barred("click", "button Paste")
        await barred("click", "textbox Title")
        assert 'value="code 17"' in await barred("key", keys="Control+v")
        await two("type", "textbox Title", text="mine")
        await two("key", keys="Control+a")
        await two("key", keys="Control+c")
        assert 'text "said: read mine"' in await two("click", "button Paste")
    finally:
        for session in (one, two, barred):
            await session.close()


async def test_a_page_writes_to_the_clipboard_by_itself_where_the_task_lets_it(
    screens: BrowserScreens,
) -> None:
    found = []
    for granted in ([], ["clipboard-write", "clipboard-read"]):
        task = notes_task(start=f"{CLIPBOARD}#all", permissions=granted)
        do = await Session(screens).start(task)
        await do("click", "button Paste")
        found.append(re.findall(r'text "((?:said|loaded): .*)"', do.text))
        await do.close()
    assert found == [
        ["said: NotAllowedError", "loaded: NotAllowedError"],
        ["said: read #all", "loaded: written"],
    ]


async def test_prepare_brief_over_hide_and_a_standing_clock(screens: BrowserScreens) -> None:
    task = notes_task(
        now="2026-03-01T10:00:00Z",
        prepare="document.getElementById('said').textContent = new Date().toISOString()",
        brief="'Also ' + document.title",
        over="JSON.parse(localStorage.notes || '[]').length > 0",
        hide="h1, #colour",
    )
    do = await Session(screens).start(task)
    try:
        assert do.messages[-1].content.startswith("Keep notes.\n\nAlso Notes\n\n## Round 0")
        assert "2026-03-01T10:00:00" in do.text
        assert "heading" not in do.text
        assert "combobox" not in do.text
        await do("click", "button Save")
        assert do.env.done
        outcome = await do.outcome()
        assert outcome["ended"] == "over"
        assert outcome["rounds"][-1]["status"] == "over"
    finally:
        await do.close()


async def test_screenshots_with_marks_and_points(screens: BrowserScreens) -> None:
    do = await Session(screens, screenshots=True).start(notes_task())
    try:
        (plain,) = do.messages[-1].images
        assert Pictures.open(io.BytesIO(plain.data)).size == (500, 400)
        await do("look", marks=True)
        (marks,) = do.turns[-1].results[-1].images
        assert Pictures.open(io.BytesIO(marks.data)).size == (500, 400)
        assert marks.data != plain.data
        await do("look", marks=False)
        assert do.turns[-1].results[-1].images[0].data == plain.data, "same screen, other bytes"
        await do("click", "button Clear")
        (dialog,) = do.turns[-1].results[-1].images
        assert dialog.data != plain.data
        await do("submit", message="done", evidence=[1, 7])
        outcome = await do.outcome()
        episode = Episode(do.env.task, prompt=do.messages, turns=do.turns, outcome=outcome)
        rounds = rounds_of(episode)
        assert [r.number for r in rounds] == [0, 1, 2, 3, 4]
        assert rounds[0].images == [plain]
        assert rounds[3].images == [dialog]
        left, top, right, bottom = rounds[3].box or (0, 0, 0, 0)
        x, y = rounds[3].point or (0, 0)
        assert left < x < right
        assert top < y < bottom
        assert (outcome["evidence"], outcome["submissions"]) == ([1, 7], 1)
        assert rounds[4].status == "submit"
    finally:
        await do.close()


async def test_a_killed_tab_is_an_infra_error_and_the_browser_goes_on(
    screens: BrowserScreens,
) -> None:
    """Two sites have two renderers; the one that is killed takes only its own episode along."""
    do = await Session(screens).start(notes_task(start="http://other.test/index.html"))
    before = {pid for pid, line in descendants() if "--type=renderer" in line}
    victim = await Session(screens).start(notes_task())
    after = {pid for pid, line in descendants() if "--type=renderer" in line}
    for pid in after - before:
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(InfraError) as error:
        await victim("click", "button Save")
    assert error.value.cause in ("tab_crashed", "tab_closed")
    await victim.close()
    assert "listitem" in await do("click", "button Save")
    await do.close()
    assert screens.launches == 1


async def test_a_killed_browser_is_an_infra_error_and_is_started_again(
    screens: BrowserScreens,
) -> None:
    do = await Session(screens).start(notes_task())
    launches = screens.launches
    browsers = [pid for pid, line in descendants() if "--remote-debugging-pipe" in line]
    for pid in browsers:
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(InfraError):
        await do("click", "button Save")
    await do.close()
    again = await Session(screens).start(notes_task())
    assert "listitem" in await again("click", "button Save")
    await again.close()
    assert screens.launches == launches + 1


async def test_a_page_that_hangs_is_an_infra_error() -> None:
    screens = BrowserScreens({"notes": NOTES}, seconds=3.0)
    try:
        task = Task("hang", "", payload={"start": "http://notes.test/index.html"})
        task.payload["prepare"] = "document.getElementById('save').onclick = () => { for (;;); }"
        do = await Session(screens).start(task)
        with pytest.raises(InfraError) as error:
            await do("click", "button Save")
        assert error.value.cause == "screen_hung"
        await do.close()
    finally:
        await screens.close()
