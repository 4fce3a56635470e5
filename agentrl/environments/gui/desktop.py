"""A desktop program on an X display inside a sandbox: screenshots and xdotool.

The sandbox's image needs `DESKTOP_PACKAGES` and the program itself. A display has no tree of
elements: the windows are the elements, and within them the policy clicks points.
"""

from __future__ import annotations

import asyncio
import json
import shlex
from typing import Any

from agentrl.core import Image, InfraError, Sandbox, SandboxProvider, Task
from agentrl.environments.gui.screen import Action, Element, Refused, View
from agentrl.environments.gui.task import ScreenTask, screen_task

DESKTOP_PACKAGES = ("xvfb", "xdotool", "scrot", "x11-utils")
DISPLAY = ":7"
_SHOT = "/tmp/agentrl-screen.png"
_KEYS = {
    "Enter": "Return",
    "Control": "ctrl",
    "Shift": "shift",
    "Alt": "alt",
    "Backspace": "BackSpace",
    "ArrowDown": "Down",
    "ArrowUp": "Up",
    "ArrowLeft": "Left",
    "ArrowRight": "Right",
    "PageDown": "Next",
    "PageUp": "Prior",
}
_WHEEL = {"up": 4, "down": 5, "left": 6, "right": 7}
_WHEEL_PIXELS = 60
_WINDOWS = """
for w in $(xdotool search --onlyvisible --name '.+' 2>/dev/null); do
  eval $(xdotool getwindowgeometry --shell $w 2>/dev/null) || continue
  echo "$X $Y $WIDTH $HEIGHT $(xdotool getwindowname $w)"
done; echo "focus $(xdotool getwindowfocus getwindowname 2>/dev/null)"
"""


class DesktopScreens:
    """A sandbox with its own display for each episode.

    Args:
        provider: lends sandboxes whose image has `DESKTOP_PACKAGES`.
        size: width and height of the display in pixels, where the task does not say.
        settle: seconds that a program gets to redraw before the screen is read.
    """

    def __init__(
        self,
        provider: SandboxProvider,
        *,
        size: tuple[int, int] = (800, 600),
        settle: float = 0.2,
        seconds: float = 30.0,
    ) -> None:
        self._provider, self._size = provider, size
        self._settle, self._seconds = settle, seconds

    async def open(self, task: Task) -> DesktopScreen:
        """Start the display and the program `payload.start`; waits for its first window."""
        wanted = screen_task(task)
        sandbox = await self._provider.acquire()
        size = wanted.viewport or self._size
        screen = DesktopScreen(self._provider, sandbox, wanted, size, self._settle, self._seconds)
        try:
            await screen.start()
        except BaseException:
            await screen.close()
            raise
        return screen

    async def close(self) -> None:
        await self._provider.close()


class DesktopScreen:
    """One display, spoken to by commands in its sandbox."""

    def __init__(
        self,
        provider: SandboxProvider,
        sandbox: Sandbox,
        task: ScreenTask,
        size: tuple[int, int],
        settle: float,
        seconds: float,
    ) -> None:
        self._provider, self._sandbox, self._task = provider, sandbox, task
        self._size, self._settle, self._seconds = size, settle, seconds
        self._view: View | None = None

    async def start(self) -> None:
        """Raises InfraError when there is no display, or the program shows no window."""
        width, height = self._size
        # Else it starts over when its last client leaves, and drops a program that comes just then.
        display = f"Xvfb {DISPLAY} -screen 0 {width}x{height}x24 -nolisten tcp -noreset"
        await self._launch(display)
        await self._until("xdpyinfo >/dev/null", "no_display", "the display does not come up")
        await self._launch(self._task.start)
        shown = "xdotool search --onlyvisible --name '.+' >/dev/null"
        await self._until(shown, "no_window", f"{self._task.start!r} shows no window")
        if self._task.prepare:
            await self._run(self._task.prepare)

    async def look(self, *, image: bool) -> View:
        found = await self._run(_WINDOWS)
        lines = found.splitlines()
        focus = lines[-1].removeprefix("focus ").strip() if lines else ""
        elements: list[Element] = []
        for line in lines[:-1]:
            x, y, width, height, name = line.split(" ", 4)
            left, top = int(x), int(y)
            box = (left, top, left + int(width), top + int(height))
            states = ("focused",) if name == focus else ()
            elements.append(Element(len(elements) + 1, "window", name, box, None, states))
        shot = await self._shot() if image else None
        over = bool(self._task.over) and await self._true(self._task.over)
        self._view = View(focus, "", self._size, elements, (), shot, over)
        return self._view

    async def act(self, action: Action, *, image: bool) -> View:
        if self._view is None:
            await self.look(image=False)
        assert self._view is not None
        command = command_of(action, self._view)
        if command:
            result = await self._exec(command)
            if not result.ok:
                raise Refused(result.output.strip() or f"{action.kind} did not work")
        await asyncio.sleep(action.amount if action.kind == "wait" else self._settle)
        if action.kind == "open":
            await self._launch(action.text)
            await asyncio.sleep(1.0)
        return await self.look(image=image)

    async def brief(self) -> str:
        return (await self._run(self._task.brief)).strip() if self._task.brief else ""

    async def ask(self, check: str) -> Any:
        """The check is a shell command; what it prints, as JSON if it is."""
        said = (await self._run(check)).strip()
        try:
            return json.loads(said)
        except ValueError:
            return said

    async def memory(self) -> str:
        return ""

    async def extras(self) -> dict[str, Any]:
        return {}

    async def close(self) -> None:
        await self._provider.release(self._sandbox)

    async def _shot(self) -> Image:
        await self._run(f"scrot -z -o {_SHOT}")
        return Image(await self._sandbox.read(_SHOT))

    async def _launch(self, command: str) -> None:
        line = shlex.quote(command)
        await self._run(f"setsid nohup sh -c {line} >/dev/null 2>&1 </dev/null &")

    async def _until(self, command: str, cause: str, what: str) -> None:
        for _ in range(int(self._seconds / 0.1)):
            if await self._true(command):
                return
            await asyncio.sleep(0.1)
        raise InfraError(cause, what, fix=f"the image needs {', '.join(DESKTOP_PACKAGES)}")

    async def _true(self, command: str) -> bool:
        return bool((await self._exec(command)).ok)

    async def _run(self, command: str) -> str:
        return str((await self._exec(command)).output)

    async def _exec(self, command: str) -> Any:
        env = {"DISPLAY": DISPLAY, "HOME": "/tmp"}
        result = await self._sandbox.exec(command, timeout=self._seconds, env=env)
        if result.timed_out:
            raise InfraError("screen_hung", f"the display did not answer: {command[:80]}")
        return result


def command_of(action: Action, view: View) -> str:
    """The shell command of an action; "" for those that do not touch the display.

    Raises Refused for what a desktop does not have.
    """
    kind = action.kind
    if kind in ("look", "wait", "open"):
        return ""
    if kind in ("click", "double_click"):
        count = "--repeat 2 --delay 60 " if kind == "double_click" else ""
        return f"{_move(action.element, action.point, view)} click {count}1"
    if kind == "drag":
        to = _move(action.to_element, action.to_point, view).removeprefix("xdotool ")
        return f"{_move(action.element, action.point, view)} mousedown 1 {to} mouseup 1"
    if kind == "type":
        parts = [_move(action.element, None, view) + " click 1"] if action.element else []
        parts.append(f"xdotool type --delay 5 -- {shlex.quote(action.text)}")
        parts += ["xdotool key Return"] if action.enter else []
        return " && ".join(parts)
    if kind == "key":
        names = [_KEYS.get(name, name) for name in action.text.split("+")]
        return f"xdotool key -- {shlex.quote('+'.join(names))}"
    if kind == "scroll":
        width, height = view.size
        point = None if action.element else (width // 2, height // 2)
        times = max(1, round(action.amount / _WHEEL_PIXELS))
        button = _WHEEL[action.text]
        return f"{_move(action.element, point, view)} click --repeat {times} --delay 5 {button}"
    raise Refused(f"a desktop has no `{kind}`")


def _move(element: int, point: tuple[int, int] | None, view: View) -> str:
    if element:
        point = view.find(element).centre
    if point is None:
        raise Refused("say where: x and y, or the number of a window")
    x, y = point
    width, height = view.size
    if not (0 <= x < width and 0 <= y < height):
        raise Refused(f"({x}, {y}) is outside of the screen of {width} x {height} pixels")
    return f"xdotool mousemove --sync {x} {y}"
