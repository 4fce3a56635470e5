"""What tests of screens share: the notes application, and an environment on it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from agentrl.core import Task, ToolCall, Turn
from agentrl.environments.gui import GuiEnvironment, Screens

NOTES = Path(__file__).parents[1] / "data" / "gui" / "notes"
STORED = "JSON.parse(localStorage.notes || '[]')"


def notes_task(id: str = "notes", **payload: Any) -> Task:
    start = {"start": "http://notes.test/index.html", **payload}
    return Task(id, "Keep notes.", payload=start, reference={"check": STORED})


class Session:
    """An environment that is driven call by call; elements are named by role and name."""

    def __init__(self, screens: Screens, **options: Any) -> None:
        self.env = GuiEnvironment(screens, **{"screenshots": False, **options})
        self.messages: list[Any] = []
        self.turns: list[Turn] = []

    async def start(self, task: Task) -> Session:
        self.messages = await self.env.reset(task)
        return self

    @property
    def text(self) -> str:
        return self.turns[-1].results[-1].text if self.turns else self.messages[-1].content

    async def __call__(self, tool: str, *named: str, **arguments: Any) -> str:
        """`await do("click", 'button "Save"')`: the number is looked up in the last view."""
        for key, name in zip(("element", "to"), named, strict=False):
            arguments[key] = self.number(name)
        turn = Turn([], [], "", [ToolCall(tool, arguments, f"call{len(self.turns)}")])
        await self.env.step(turn)
        self.turns.append(turn)
        return self.text

    def number(self, name: str) -> int:
        view = self.env._view
        assert view is not None
        role, _, said = name.partition(" ")
        for element in view.elements:
            if element.id and element.role == role and element.name == said:
                return element.id
        raise AssertionError(f"no {name!r} in\n{self.text}")

    async def outcome(self) -> dict[str, Any]:
        found: dict[str, Any] = await self.env.finish(None)  # type: ignore[arg-type]
        return found

    async def close(self) -> None:
        await self.env.close()


def descendants(pid: int | None = None) -> list[tuple[int, str]]:
    """(pid, command line) of the processes below one, this one by default."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents.setdefault(int(stat[1]), []).append(int(entry.name))
    found, rest = [], [pid or os.getpid()]
    while rest:
        for child in parents.get(rest.pop(), []):
            rest.append(child)
            try:
                line = Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            found.append((child, line))
    return found
