"""What a scripted expert works with: an environment's tools, and what its observations say.

Nothing else is known to it: elements are read from the text of the last round, and where they stand
from the screenshot (their boxes, which the marks draw on it).
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import numpy as np

from agentrl.core import Task, ToolCall, Turn
from agentrl.environments.gui.environment import GuiEnvironment
from agentrl.environments.gui.rounds import header
from agentrl.environments.gui.screen import Box, Element

_QUOTED = re.compile(r'"([^"]*)"')
_LINE = re.compile(
    r'(?P<depth> *)(?:\[(?P<id>\d+)\] )?(?P<role>[\w-]+)(?: "(?P<name>[^"]*)")?'
    r'(?: value="(?P<value>[^"]*)")?(?: options: (?P<options>.*?))?(?P<states>(?: [a-z]+)*)'
)

_NOTHING = np.zeros(0, np.float32)

Expert = Callable[["Hand"], Awaitable[None]]


class Missing(Exception):
    """An expert did not find what it looks for, or the environment refused what it asked."""


class Over(Exception):
    """The episode has ended."""


class Hand:
    """An environment in the hands of an expert.

    Args:
        text: of round 0.

    Attributes:
        brief: the instruction that is followed; the task's own unless another one is set.
        elements: what the last round shows; notes: what it says besides.
    """

    def __init__(self, env: GuiEnvironment, brief: str, text: str) -> None:
        self.env, self.brief = env, brief
        self._instruction = " ".join(brief.split()).replace('"', "'")
        self.elements: list[Element] = []
        self.notes: list[str] = []
        self.steps = 0
        self._read(text)

    @classmethod
    async def take(cls, env: GuiEnvironment, task: Task) -> Hand:
        """Begin the task's episode."""
        messages = await env.reset(task)
        said, _, text = messages[-1].content.partition(header(0))
        return cls(env, said.strip(), text)

    @property
    def quoted(self) -> list[str]:
        """What the instruction has in double quotes."""
        return _QUOTED.findall(self.brief)

    def find(self, pattern: str) -> tuple[str, ...]:
        """Groups of a pattern in the instruction. Raises Missing."""
        found = re.search(pattern, self.brief)
        if found is None:
            raise Missing(f"{pattern!r} in {self.brief!r}")
        return found.groups()

    def all(self, *roles: str, name: str | None = None) -> list[Element]:
        """Numbered elements with one of the roles (any when none is named) and this name.

        The page repeats the instruction as its first element, which is left out.
        """
        return [
            element
            for element in self.elements
            if element.id
            and (not roles or element.role in roles)
            and (name is None or element.name == name.replace('"', "'"))
            and element.name != self._instruction
        ]

    def one(self, *roles: str, name: str | None = None, nth: int = 0) -> Element:
        """The nth of `all`. Raises Missing."""
        found = self.all(*roles, name=name)
        try:
            return found[nth]
        except IndexError:
            raise Missing(f"{roles} {name!r} among {len(self.elements)} elements") from None

    def texts(self) -> list[str]:
        """What all elements say, unnumbered text included, in order."""
        return [element.name for element in self.elements]

    async def call(self, tool: str, **arguments: Any) -> None:
        """One call of a tool, and what it is answered.

        Raises:
            Over: the episode has ended, before or by it.
            Missing: it was refused.
        """
        if self.env.done:
            raise Over
        turn = Turn(_NOTHING, _NOTHING, "", [ToolCall(tool, arguments, f"call{self.steps}")])
        self.steps += 1
        await self.env.step(turn)
        (result,) = turn.results
        if self.env.done:
            raise Over
        if not result.ok:
            raise Missing(result.text)
        self._read(result.text)

    async def click(self, *roles: str, name: str | None = None, nth: int = 0) -> None:
        await self.press(self.one(*roles, name=name, nth=nth))

    async def press(self, element: Element) -> None:
        await self.call("click", element=element.id)

    async def point(self, x: int, y: int) -> None:
        await self.call("click", x=x, y=y)

    async def drag(self, start: tuple[int, int], end: tuple[int, int]) -> None:
        await self.call("drag", x=start[0], y=start[1], to_x=end[0], to_y=end[1])

    async def type(self, element: Element, text: str) -> None:
        await self.call("type", element=element.id, text=text)

    async def fill(self, text: str, nth: int = 0) -> None:
        """Type into the nth field."""
        await self.type(self.one("textbox", "searchbox", "spinbutton", nth=nth), text)

    async def choose(self, option: str, nth: int = 0) -> None:
        element = self.one("combobox", "listbox", nth=nth)
        await self.call("select", element=element.id, option=option)

    async def key(self, keys: str) -> None:
        await self.call("key", keys=keys)

    async def wait(self, seconds: float) -> None:
        await self.call("wait", seconds=seconds)

    async def submit(self, name: str = "Submit") -> None:
        await self.click("button", name=name)

    def _read(self, text: str) -> None:
        rows = text.strip().split("\n")
        if rows[0].startswith("## Round"):
            rows = rows[1:]
        self.notes = [row.removeprefix("note: ") for row in rows[1:] if row.startswith("note: ")]
        boxes = [element.box for element in self.env.view.elements]
        # The last row may say how many more there are.
        rows = [row for row in rows[1 + len(self.notes) :] if not row.startswith("... ")]
        self.elements = elements_of(rows, boxes)


async def play(hand: Hand, expert: Expert) -> None:
    """One episode to its end, or as far as the expert goes. Raises Missing."""
    try:
        await expert(hand)
    except Over:
        return


def elements_of(rows: Sequence[str], boxes: Sequence[Box]) -> list[Element]:
    """The elements that lines of an observation tell of; boxes in the same order."""
    found = []
    for row, box in zip(rows, boxes, strict=False):
        said = _LINE.fullmatch(row)
        if said is None:
            raise ValueError(f"not a line of an observation: {row!r}")
        found.append(
            Element(
                int(said["id"] or 0),
                said["role"],
                said["name"] or "",
                box,
                said["value"],
                tuple(said["states"].split()),
                len(said["depth"]) // 2,
                tuple(said["options"].split(" | ")) if said["options"] else (),
            )
        )
    return found
