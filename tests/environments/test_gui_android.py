"""Android against a recorded adb: the commands that go out, and what is made of the answers.

No device takes part; the docs say so.
"""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from gui_kit import Session

from agentrl.core import ConfigError, InfraError, Task
from agentrl.environments.gui import Action, Refused
from agentrl.environments.gui.android import (
    AdbCommand,
    AndroidScreens,
    commands_of,
    elements_of,
)

DUMP = Path(__file__).parents[1] / "data" / "gui" / "android" / "settings.xml"
PNG = b"\x89PNG\r\n\x1a\n" + b"picture"
FOCUS = "  mCurrentFocus=Window{1a2b u0 com.example.settings/com.example.settings.Main}\n"


class RecordedAdb:
    """Answers from a recording, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.switched = False

    async def __call__(self, *arguments: str) -> bytes:
        said = " ".join(arguments)
        self.asked.append(said)
        if said == "shell wm size":
            return b"Physical size: 1080x1920\nOverride size: 720x1280\n"
        if "uiautomator dump" in said:
            xml = DUMP.read_bytes()
            return xml.replace(b'checked="true"', b'checked="false"') if self.switched else xml
        if said == "shell dumpsys window":
            return FOCUS.encode()
        if said.startswith("exec-out screencap"):
            return PNG
        if said == "shell settings get global airplane_mode_on":
            return b"0\n" if self.switched else b"1\n"
        if said == "shell input tap 624 240":
            self.switched = True
        return b""


def airplane() -> Task:
    reference = {"check": "settings get global airplane_mode_on", "state": "0"}
    start = {"start": "com.example.settings/.Main", "prepare": "settings put global x 1"}
    return Task("airplane", "Turn airplane mode off.", payload=start, reference=reference)


async def test_an_episode_over_a_recorded_adb() -> None:
    adb = RecordedAdb()
    screens = AndroidScreens([adb], settle=0.0)
    do = await Session(screens, screenshots=True).start(airplane())
    assert adb.asked[:4] == [
        "shell wm size",
        "shell am force-stop com.example.settings",
        "shell settings put global x 1",
        "shell am start -W -n com.example.settings/.Main",
    ]
    assert do.text.splitlines()[2:] == [
        "## Round 0",
        "com.example.settings/com.example.settings.Main",
        '[1] EditText "Search settings" value=""',
        '[2] RecyclerView "list" scrollable',
        "  [3] LinearLayout",
        '    [4] TextView "Airplane mode"',
        '    [5] Switch "Airplane mode" checked',
        '  [6] TextView "Sound" disabled',
    ]
    assert do.messages[-1].images[0].data == PNG
    assert 'Switch "Airplane mode"\n' in await do("click", "Switch Airplane mode")
    outcome = await do.outcome()
    assert (outcome["state"], outcome["solved"]) == ("0", True)
    await do.close()
    again = await Session(screens).start(airplane())
    await again.close()


def test_compressed_xml_is_read_with_its_tail_and_its_flags() -> None:
    elements = elements_of(DUMP.read_bytes())
    assert [(e.id, e.role, e.depth) for e in elements] == [
        (1, "EditText", 0),
        (2, "RecyclerView", 0),
        (3, "LinearLayout", 1),
        (4, "TextView", 2),
        (5, "Switch", 2),
        (6, "TextView", 1),
    ]
    assert elements[4].states == ("checked",)
    assert elements[5].states == ("disabled",)
    assert elements[0].box == (32, 64, 688, 160)
    with pytest.raises(InfraError, match="could not get idle state"):
        elements_of(b"ERROR: could not get idle state.")


def test_commands_of_the_device() -> None:
    from agentrl.environments.gui import View

    view = View("", "", (720, 1280), elements_of(DUMP.read_bytes()))
    cases = {
        Action("click", 5): ["input tap 624 240"],
        Action("type", 1, text="dark mode; reboot", enter=True): [
            "input tap 360 112",
            "input text 'dark%smode;%sreboot'",
            "input keyevent 66",
        ],
        Action("scroll", 2, text="down", amount=400): ["input swipe 360 928 360 528 300"],
        Action("back"): ["input keyevent 4"],
        Action("drag", 5, to_element=1): ["input draganddrop 624 240 360 112 800"],
        Action("look"): [],
    }
    for action, commands in cases.items():
        assert commands_of(action, view) == commands
    for refused in (Action("select", 1), Action("type", text="é"), Action("key", text="F13")):
        with pytest.raises(Refused):
            commands_of(refused, view)


async def test_the_adb_program_and_its_failures(tmp_path: Path) -> None:
    """A stand-in program with adb's exit codes and messages."""
    program = tmp_path / "adb"
    program.write_text(
        '#!/bin/sh\ncase "$4" in\n'
        '  ok) echo "$@";;\n'
        "  gone) echo \"error: device 'emulator-5554' not found\" >&2; exit 1;;\n"
        "  hang) exec sleep 30;;\n"
        "  *) echo 'Error: Activity not started' >&2; exit 1;;\nesac\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    adb = AdbCommand("emulator-5554", program=str(program), seconds=20.0)
    assert await adb("shell", "ok") == b"-s emulator-5554 shell ok\n"
    with pytest.raises(Refused, match="Activity not started"):
        await adb("shell", "other")
    with pytest.raises(InfraError) as error:
        await adb("shell", "gone")
    assert error.value.cause == "device_lost"
    hanging = AdbCommand("emulator-5554", program=str(program), seconds=0.5)
    with pytest.raises(InfraError) as error:
        await hanging("shell", "hang")
    assert error.value.cause == "device_hung"
    with pytest.raises(ConfigError, match="there is no"):
        await AdbCommand(program=str(tmp_path / "none"))("devices")
