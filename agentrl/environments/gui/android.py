"""An Android device or emulator through adb: compressed XML of uiautomator, screencap, input."""

from __future__ import annotations

import asyncio
import re
import shlex
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable
from xml.etree import ElementTree

from agentrl.core import ConfigError, Image, InfraError, Task
from agentrl.environments.gui.screen import Action, Box, Element, Refused, View
from agentrl.environments.gui.task import ScreenTask, screen_task

_BOUNDS = re.compile(r"\[(-?\d+),(-?\d+)\]\[(-?\d+),(-?\d+)\]")
_SIZE = re.compile(r"(?:Override|Physical) size: (\d+)x(\d+)")
_FOCUS = re.compile(r"mCurrentFocus=Window\{\S+ \S+ (\S+?)\}")
_GONE = ("device offline", "device not found", "no devices/emulators found", "device '", "closed")
_KEYS = {
    "Enter": "66",
    "Backspace": "67",
    "Delete": "112",
    "Tab": "61",
    "Escape": "111",
    "Home": "3",
    "ArrowUp": "19",
    "ArrowDown": "20",
    "ArrowLeft": "21",
    "ArrowRight": "22",
    "Menu": "82",
    "Search": "84",
}
_STATES = ("focused", "checked", "selected", "scrollable", "password")
_DUMP = "uiautomator dump --compressed /sdcard/agentrl.xml >/dev/null && cat /sdcard/agentrl.xml"


@runtime_checkable
class Adb(Protocol):
    """Runs one adb command: its arguments to its standard output, as bytes."""

    async def __call__(self, *arguments: str) -> bytes:
        """Raises InfraError when the device does not answer; Refused when the command fails."""
        ...


class AdbCommand:
    """The `adb` program, for one device.

    Args:
        serial: of the device (`adb devices`); the only one when "".
    """

    def __init__(self, serial: str = "", *, program: str = "adb", seconds: float = 30.0) -> None:
        self._base = [program, *(["-s", serial] if serial else [])]
        self._seconds = seconds

    async def __call__(self, *arguments: str) -> bytes:
        pipe = asyncio.subprocess.PIPE
        try:
            process = await asyncio.create_subprocess_exec(
                *self._base, *arguments, stdout=pipe, stderr=pipe
            )
        except FileNotFoundError as error:
            raise ConfigError(
                f"there is no {self._base[0]}", fix="apt-get install adb, and start a device"
            ) from error
        try:
            async with asyncio.timeout(self._seconds):
                out, err = await process.communicate()
        except TimeoutError as error:
            process.kill()
            await process.wait()
            raise InfraError("device_hung", f"adb {arguments[0]} did not answer") from error
        if process.returncode:
            said = (err or out).decode(errors="replace").strip()
            if any(text in said for text in _GONE):
                raise InfraError("device_lost", said, fix="adb devices")
            raise Refused(said.splitlines()[-1] if said else f"adb ended with {process.returncode}")
        return out


class AndroidScreens:
    """Devices, each lent to one episode at a time.

    Args:
        devices: one `Adb` a device.
        settle: seconds that an application gets to redraw before the screen is read.
    """

    def __init__(self, devices: Sequence[Adb], *, settle: float = 1.0) -> None:
        if not devices:
            raise ConfigError("no Android device is named", fix="name the serials of `adb devices`")
        self._settle = settle
        self._free: asyncio.Queue[Adb] = asyncio.Queue()
        for device in devices:
            self._free.put_nowait(device)

    async def open(self, task: Task) -> AndroidScreen:
        """Start the application `payload.start` from its first screen; waits for a device."""
        wanted = screen_task(task)
        device = await self._free.get()
        screen = AndroidScreen(device, wanted, self._settle, self._free)
        try:
            await screen.start()
        except BaseException:
            await screen.close()
            raise
        return screen

    async def close(self) -> None:
        return None


class AndroidScreen:
    """One device for one episode."""

    def __init__(self, adb: Adb, task: ScreenTask, settle: float, free: asyncio.Queue[Adb]) -> None:
        self._adb, self._task, self._settle, self._free = adb, task, settle, free
        self._view: View | None = None
        self._size = (0, 0)

    async def start(self) -> None:
        """Stop what the last episode left of the application, and start it anew."""
        found = _SIZE.findall((await self._shell("wm size")).decode())
        if not found:
            raise InfraError("device_lost", "the device does not say how large its screen is")
        self._size = (int(found[-1][0]), int(found[-1][1]))
        package = self._task.start.partition("/")[0]
        await self._shell(f"am force-stop {shlex.quote(package)}")
        for line in self._task.prepare.splitlines():
            await self._shell(line)
        await self._launch(self._task.start)

    async def look(self, *, image: bool) -> View:
        xml = await self._shell(_DUMP)
        focus = _FOCUS.search((await self._shell("dumpsys window")).decode(errors="replace"))
        shot = Image(await self._adb("exec-out", "screencap", "-p")) if image else None
        activity = focus.group(1) if focus else ""
        self._view = View("", activity, self._size, elements_of(xml), (), shot)
        return self._view

    async def act(self, action: Action, *, image: bool) -> View:
        if self._view is None:
            await self.look(image=False)
        assert self._view is not None
        if action.kind == "open":
            await self._launch(action.text)
        elif action.kind == "wait":
            await asyncio.sleep(action.amount)
        else:
            for command in commands_of(action, self._view):
                await self._shell(command)
            await asyncio.sleep(self._settle if action.kind != "look" else 0.0)
        return await self.look(image=image)

    async def brief(self) -> str:
        return (await self._shell(self._task.brief)).decode().strip() if self._task.brief else ""

    async def ask(self, check: str) -> Any:
        """The check is a command of the device's shell; what it prints."""
        return (await self._shell(check)).decode(errors="replace").strip()

    async def memory(self) -> str:
        return ""

    async def extras(self) -> dict[str, Any]:
        return {}

    async def close(self) -> None:
        self._free.put_nowait(self._adb)

    async def _shell(self, command: str) -> bytes:
        return await self._adb("shell", command)

    async def _launch(self, name: str) -> None:
        where = shlex.quote(name)
        if "/" in name:
            await self._shell(f"am start -W -n {where}")
        else:
            await self._shell(f"monkey -p {where} -c android.intent.category.LAUNCHER 1")
        await asyncio.sleep(self._settle)


def elements_of(xml: bytes) -> list[Element]:
    """The elements of a uiautomator dump: what has words, or can be acted on.

    Raises InfraError when it is no dump (the device answers with a text when it is not idle).
    """
    start, end = xml.find(b"<?xml"), xml.rfind(b"</hierarchy>")
    try:
        root = ElementTree.fromstring(xml[max(start, 0) : end + len(b"</hierarchy>")])
    except ElementTree.ParseError as error:
        said = xml[:200].decode(errors="replace")
        raise InfraError("no_dump", f"uiautomator gave no tree: {said}") from error
    found: list[Element] = []
    _gather(root, 0, found)
    return found


def _gather(node: ElementTree.Element, depth: int, found: list[Element]) -> None:
    get = node.attrib.get
    bounds = _BOUNDS.fullmatch(get("bounds", ""))
    name = get("content-desc") or get("text", "")
    flags = ("clickable", "long-clickable", "checkable", "scrollable")
    acted = any(get(flag) == "true" for flag in flags)
    role = get("class", "").rpartition(".")[2] or "node"
    shown = bounds is not None and (acted or bool(name) or role == "EditText")
    if bounds is not None and shown:
        left, top, right, bottom = map(int, bounds.groups())
        box: Box = (left, top, right, bottom)
        value = get("text", "") if role == "EditText" else None
        label = (get("content-desc") or get("hint", "")) if value is not None else name
        if not label:
            label = get("resource-id", "").rpartition("/")[2]
        states = [state for state in _STATES if get(state) == "true"]
        states += ["disabled"] if get("enabled") == "false" else []
        number = len(found) + 1
        found.append(Element(number, role, label, box, value, tuple(states), depth))
    for child in node:
        _gather(child, depth + int(shown and len(node) > 0), found)


def commands_of(action: Action, view: View) -> list[str]:
    """Commands of the device's shell. Raises Refused for what a device does not have."""
    kind = action.kind
    if kind == "look":
        return []
    if kind in ("click", "double_click"):
        tap = "input tap {} {}".format(*_spot(action.element, action.point, view))
        return [tap if kind == "click" else f"{tap}; {tap}"]
    if kind == "type":
        return _typing(action, view)
    if kind == "key":
        code = _KEYS.get(action.text)
        if code is None:
            raise Refused(f"there is no key {action.text!r}; there are {', '.join(_KEYS)}")
        return [f"input keyevent {code}"]
    if kind == "back":
        return ["input keyevent 4"]
    if kind == "drag":
        x, y = _spot(action.element, action.point, view)
        to_x, to_y = _spot(action.to_element, action.to_point, view)
        return [f"input draganddrop {x} {y} {to_x} {to_y} 800"]
    if kind == "scroll":
        return [_swipe(action, view)]
    raise Refused(f"a device has no `{kind}`")


def _typing(action: Action, view: View) -> list[str]:
    if not action.text.isascii():
        raise Refused("the device's `input` types ASCII only")
    commands = []
    if action.element:
        element = view.find(action.element)
        commands.append("input tap {} {}".format(*element.centre))
        if element.value:
            # To the end, then as many deletions as there are characters.
            commands.append("input keyevent 123")
            commands.append(f"input keyevent {' '.join(['67'] * len(element.value))}")
    if action.text:
        commands.append(f"input text {shlex.quote(action.text.replace(' ', '%s'))}")
    return [*commands, *(["input keyevent 66"] if action.enter else [])]


def _swipe(action: Action, view: View) -> str:
    width, height = view.size
    box = view.find(action.element).box if action.element else (0, 0, width, height)
    x, y = (box[0] + box[2]) // 2, (box[1] + box[3]) // 2
    across, down = {"up": (0, 1), "down": (0, -1), "left": (1, 0), "right": (-1, 0)}[action.text]
    far = min(int(action.amount), (box[3] - box[1] if down else box[2] - box[0]) * 4 // 5) // 2
    begin = f"{x - across * far} {y - down * far}"
    return f"input swipe {begin} {x + across * far} {y + down * far} 300"


def _spot(element: int, point: tuple[int, int] | None, view: View) -> tuple[int, int]:
    if element:
        return view.find(element).centre
    if point is None:
        raise Refused("say where: the number of an element, or x and y")
    return point
