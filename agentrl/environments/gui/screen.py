"""What an episode acts on: a screen that shows views and takes actions.

A browser page, a recording of one, an X display and an Android device are all a `Screen`; the
environment, its tools and its rewards do not know which.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from agentrl.core import Image, Task

Box = tuple[int, int, int, int]


class Refused(Exception):
    """The screen does not do this, by the policy's fault; the policy reads the message."""


class Unseen(Exception):
    """A recording does not know where an action leads; the message says which."""


@dataclass(slots=True, frozen=True)
class Element:
    """One thing on a screen.

    Attributes:
        id: number by which the policy names it, 0 for text that cannot be acted on. Numbered anew
            on every screen, in the order of the document: the same state gives the same numbers.
        role: ARIA role, or the class of a widget ("button", "textbox", "text", ..).
        name: what it says.
        box: left, top, right, bottom in pixels of the screenshot.
        value: what is typed, chosen or set; None where there is no such thing.
        states: of "focused", "checked", "disabled", "expanded", "selected", "offscreen", ..
        depth: how deep it is indented among the shown ones.
        options: texts of what can be chosen, for a list.
    """

    id: int
    role: str
    name: str
    box: Box
    value: str | None = None
    states: tuple[str, ...] = ()
    depth: int = 0
    options: tuple[str, ...] = ()

    @property
    def centre(self) -> tuple[int, int]:
        left, top, right, bottom = self.box
        return (left + right) // 2, (top + bottom) // 2


@dataclass(slots=True)
class View:
    """What a screen shows at one moment.

    Attributes:
        url: of the page; package/activity on a device; "" where there is no such thing.
        size: width and height in pixels of the screenshot and of all boxes.
        notes: what happened since the last view that the page does not show (a download, ..).
        image: the screenshot, when it was asked for.
        over: the application itself says that the episode has ended.
        stopped: a dialog is open and the application stands still: it cannot be asked for its state
            without the dialog being dismissed.
    """

    title: str
    url: str
    size: tuple[int, int]
    elements: Sequence[Element]
    notes: tuple[str, ...] = ()
    image: Image | None = None
    over: bool = False
    stopped: bool = False

    def find(self, id: int) -> Element:
        """The element with this number. Raises Refused when there is none."""
        for element in self.elements:
            if element.id == id and id > 0:
                return element
        last = max((element.id for element in self.elements), default=0)
        shown = f"the numbers are 1 to {last}" if last else "nothing on it has a number"
        raise Refused(f"there is no element {id} on this screen; {shown}")

    def at(self, x: int, y: int) -> Element | None:
        """The numbered element that a click at (x, y) meets: the smallest box around it."""
        around = [
            element
            for element in self.elements
            if element.id
            and element.box[0] <= x < element.box[2]
            and element.box[1] <= y < element.box[3]
        ]
        return min(around, key=_area, default=None)


def _area(element: Element) -> int:
    left, top, right, bottom = element.box
    return (right - left) * (bottom - top)


KINDS = (
    "click",
    "double_click",
    "type",
    "key",
    "scroll",
    "drag",
    "select",
    "back",
    "wait",
    "open",
    "look",
)


@dataclass(slots=True, frozen=True)
class Action:
    """One action of the policy, as plain data.

    Attributes:
        kind: one of `KINDS`.
        element: number of the element it is about, 0 for none.
        point: pixel it is about, when no element is named (or within a canvas).
        to_element, to_point: where a drag ends.
        text: typed text, keys, option, URL, or direction of scrolling.
        enter: press Enter after typing.
        amount: seconds to wait, or pixels to scroll.
    """

    kind: str
    element: int = 0
    point: tuple[int, int] | None = None
    to_element: int = 0
    to_point: tuple[int, int] | None = None
    text: str = ""
    enter: bool = False
    amount: float = 0.0

    def __str__(self) -> str:
        """As a call: `type(element=3, text="milk", enter=true)`; stable, so it serves as a key."""
        said: dict[str, Any] = {
            "element": self.element or None,
            "at": list(self.point) if self.point else None,
            "to": self.to_element or None,
            "to_at": list(self.to_point) if self.to_point else None,
            "text": self.text if self.text or self.kind == "type" else None,
            "enter": True if self.enter else None,
            "amount": self.amount or None,
        }
        given = [f"{k}={json.dumps(v)}" for k, v in said.items() if v is not None]
        return f"{self.kind}({', '.join(given)})"

    @classmethod
    def read(cls, text: str) -> Action:
        """The action that `str` wrote. Raises ValueError for anything else."""
        kind, _, rest = text.partition("(")
        values: dict[str, Any] = {}
        while rest and rest != ")":
            name, _, rest = rest.removeprefix(", ").partition("=")
            values[name], end = json.JSONDecoder().raw_decode(rest)
            rest = rest[end:]
        if kind not in KINDS or rest != ")" or values.keys() - _SAID.keys():
            raise ValueError(f"not an action: {text!r}")
        said: dict[str, Any] = {
            _SAID[k]: tuple(v) if isinstance(v, list) else v for k, v in values.items()
        }
        return cls(kind, **said)


_SAID = {
    "element": "element",
    "at": "point",
    "to": "to_element",
    "to_at": "to_point",
    "text": "text",
    "enter": "enter",
    "amount": "amount",
}


@runtime_checkable
class Screen(Protocol):
    """One screen for one episode.

    Every method raises `InfraError` when the screen broke by itself (a tab or browser crashed, a
    device went away): such an episode says nothing about the policy.
    """

    async def look(self, *, image: bool) -> View:
        """What is shown now; with a screenshot when `image`."""
        ...

    async def act(self, action: Action, *, image: bool) -> View:
        """Do it, let the screen settle, and look.

        Element numbers are those of the last view. Raises Refused for what the policy asked in
        vain, Unseen when a recording does not know the way.
        """
        ...

    async def brief(self) -> str:
        """What the application adds to the task's prompt; "" for most."""
        ...

    async def ask(self, check: str) -> Any:
        """The value of an end-state check, JSON-able; None where the screen does not know it.

        A dialog that is open is dismissed for it.
        """
        ...

    async def memory(self) -> str:
        """What the application remembers beyond what it shows, for telling states apart."""
        ...

    async def extras(self) -> dict[str, Any]:
        """More for the episode's outcome, JSON-able (downloads, ..)."""
        ...

    async def close(self) -> None:
        """Give back what the episode held; never raises for a screen that is already gone."""
        ...


@runtime_checkable
class Screens(Protocol):
    """Where screens come from; shared by all episodes of a run."""

    async def open(self, task: Task) -> Screen:
        """A fresh screen that shows the start of the task.

        Raises InfraError when it cannot be made, TaskFileError when the task does not say how.
        """
        ...

    async def close(self) -> None: ...


@dataclass(slots=True)
class Told:
    """Notes gathered between two views."""

    notes: list[str] = field(default_factory=list)

    def tell(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)

    def take(self) -> tuple[str, ...]:
        notes, self.notes = tuple(self.notes), []
        return notes
