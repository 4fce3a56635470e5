"""A program on a real X display in a container, driven through the environment's tools."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from docker_marks import docker_test
from gui_kit import Session
from PIL import Image as Pictures

from agentrl.core import InfraError, Task
from agentrl.environments.gui import Action, Element, Refused, View
from agentrl.environments.gui.desktop import DESKTOP_PACKAGES, DesktopScreens, command_of
from agentrl.environments.images import docker_images
from agentrl.environments.languages import ensure_debian_image


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def screens() -> AsyncIterator[DesktopScreens]:
    image = ensure_debian_image([*DESKTOP_PACKAGES, "xterm"])
    screens = DesktopScreens(docker_images(image, size=1, spare=0), size=(400, 300))
    yield screens
    await screens.close()


def program(start: str, check: str) -> Task:
    return Task(start, "Use it.", payload={"start": start}, reference={"check": check})


@docker_test
async def test_a_terminal_is_typed_into_and_pressed(screens: DesktopScreens) -> None:
    do = await Session(screens, screenshots=True).start(
        program("xterm -title shell -geometry 60x15+0+0", "cat /tmp/said")
    )
    try:
        assert 'window "shell"' in do.text
        before = do.messages[-1].images[0].data
        assert Pictures.open(io.BytesIO(before)).size == (400, 300)
        await do("type", "window shell", text="echo $((6 * 7)) > /tmp/said", enter=True)
        assert do.turns[-1].results[-1].images[0].data != before
        assert (await do.outcome())["state"] == 42
        assert "a desktop has no `select`" in await do("select", element=1, option="x")
        assert "outside of the screen" in await do("click", x=900, y=0)
        await do("key", keys="Control+d")
        await do("wait", seconds=0.5)
        assert "(nothing is shown)" in do.text
    finally:
        await do.close()


@docker_test
async def test_a_button_is_clicked_and_the_next_episode_starts_clean(
    screens: DesktopScreens,
) -> None:
    """A reset sandbox has no display and no file of the episode before."""
    start = "xmessage -print -buttons Yes -geometry 200x100+0+0 question > /tmp/answer"
    do = await Session(screens).start(program(start, "cat /tmp/answer; ls /tmp/said"))
    try:
        assert "No such file" in str((await do.outcome())["state"])
        for y in range(20, 100, 8):
            if "(nothing is shown)" in await do("click", x=25, y=y):
                break
        assert str((await do.outcome())["state"]).startswith("Yes")
    finally:
        await do.close()


@docker_test
async def test_a_program_without_a_window_is_an_infra_error(screens: DesktopScreens) -> None:
    screens._seconds, before = 2.0, screens._seconds
    try:
        with pytest.raises(InfraError) as error:
            await screens.open(program("true", ""))
        assert error.value.cause in ("no_window", "no_display")
    finally:
        screens._seconds = before


SHOWN = View("", "", (400, 300), [Element(1, "window", "w", (0, 0, 100, 50))])


@pytest.mark.parametrize(
    ("action", "command"),
    [
        (Action("click", 1), "xdotool mousemove --sync 50 25 click 1"),
        (
            Action("double_click", point=(3, 4)),
            "xdotool mousemove --sync 3 4 click --repeat 2 --delay 60 1",
        ),
        (
            Action("drag", point=(1, 2), to_point=(3, 4)),
            "xdotool mousemove --sync 1 2 mousedown 1 mousemove --sync 3 4 mouseup 1",
        ),
        (Action("type", text="it's"), "xdotool type --delay 5 -- 'it'\"'\"'s'"),
        (Action("key", text="Control+Enter"), "xdotool key -- ctrl+Return"),
        (
            Action("scroll", text="down", amount=120),
            "xdotool mousemove --sync 200 150 click --repeat 2 --delay 5 5",
        ),
        (Action("look"), ""),
    ],
)
def test_commands(action: Action, command: str) -> None:
    assert command_of(action, SHOWN) == command


def test_what_a_desktop_does_not_have_is_refused() -> None:
    for action in (Action("back"), Action("click"), Action("click", 9), Action("select", 1)):
        with pytest.raises(Refused):
            command_of(action, SHOWN)
