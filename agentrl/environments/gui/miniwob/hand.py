"""What a scripted expert works with: the instruction, the elements, and actions on them."""

from __future__ import annotations

import re

from agentrl.environments.gui.screen import Action, Element, Screen, View

_QUOTED = re.compile(r'"([^"]*)"')


class Missing(Exception):
    """An expert did not find what it looks for."""


class Hand:
    """A screen in the hands of an expert.

    Args:
        brief: the instruction; the page's own unless another one is to be followed.
    """

    def __init__(self, screen: Screen, view: View, brief: str) -> None:
        self.screen, self.view, self.brief = screen, view, brief
        self.steps = 0

    @classmethod
    async def take(cls, screen: Screen, brief: str | None = None) -> Hand:
        view = await screen.look(image=False)
        return cls(screen, view, await screen.brief() if brief is None else brief)

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
        instruction = " ".join(self.brief.split()).replace('"', "'")
        return [
            element
            for element in self.view.elements
            if element.id
            and (not roles or element.role in roles)
            and (name is None or element.name == name)
            and element.name.replace('"', "'") != instruction
        ]

    def one(self, *roles: str, name: str | None = None, nth: int = 0) -> Element:
        """The nth of `all`. Raises Missing."""
        found = self.all(*roles, name=name)
        try:
            return found[nth]
        except IndexError:
            raise Missing(f"{roles} {name!r} among {len(self.view.elements)} elements") from None

    def texts(self) -> list[str]:
        """What all elements say, unnumbered text included, in order."""
        return [element.name for element in self.view.elements]

    async def act(self, action: Action) -> View:
        self.steps += 1
        self.view = await self.screen.act(action, image=False)
        return self.view

    async def click(self, *roles: str, name: str | None = None, nth: int = 0) -> None:
        await self.press(self.one(*roles, name=name, nth=nth))

    async def press(self, element: Element) -> None:
        await self.act(Action("click", element.id))

    async def point(self, x: int, y: int) -> None:
        await self.act(Action("click", point=(x, y)))

    async def type(self, element: Element, text: str) -> None:
        await self.act(Action("type", element.id, text=text))

    async def fill(self, text: str, nth: int = 0) -> None:
        """Type into the nth field."""
        await self.type(self.one("textbox", "searchbox", "spinbutton", nth=nth), text)

    async def choose(self, option: str, nth: int = 0) -> None:
        element = self.one("combobox", "listbox", nth=nth)
        await self.act(Action("select", element.id, text=option))

    async def key(self, keys: str) -> None:
        await self.act(Action("key", text=keys))

    async def wait(self, seconds: float) -> None:
        await self.act(Action("wait", amount=seconds))

    async def submit(self, name: str = "Submit") -> None:
        await self.click("button", name=name)
