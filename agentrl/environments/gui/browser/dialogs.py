"""JavaScript dialogs as screens of their own: they stop the page until they are answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agentrl.core import Image
from agentrl.environments.gui.screen import Action, Element, Refused, View

if TYPE_CHECKING:
    from playwright.async_api import Dialog

_LINE, _PAD, _BUTTON = 16, 10, 60


class DialogView:
    """What an open dialog shows, and what its buttons do."""

    def __init__(self, dialog: Dialog, below: View) -> None:
        self._dialog, self._below = dialog, below
        self._typed = dialog.default_value if dialog.type == "prompt" else None

    def view(self, *, image: bool) -> View:
        """The dialog over the page that it stops; the screenshot is the page's last one."""
        width, height = self._below.size
        left, top = min(_PAD, width // 8), height // 4
        right = width - left
        message, kind = self._dialog.message, self._dialog.type
        elements = [Element(0, "dialog", kind, (left, top, right, top + 4 * _LINE + _PAD))]
        y = top + _PAD
        elements.append(
            Element(0, "text", message, (left + _PAD, y, right - _PAD, y + _LINE), depth=1)
        )
        y += _LINE + 4
        if self._typed is not None:
            box = (left + _PAD, y, right - _PAD, y + _LINE)
            elements.append(Element(1, "textbox", "answer", box, self._typed, ("focused",), 1))
            y += _LINE + 4
        for name in ("OK",) if kind == "alert" else ("OK", "Cancel"):
            number = 1 + sum(element.id > 0 for element in elements)
            x = left + _PAD + (_BUTTON + 4 if name == "Cancel" else 0)
            box = (x, y, min(x + _BUTTON, right), y + _LINE)
            elements.append(Element(number, "button", name, box, depth=1))
        shown = self._image(elements) if image else None
        below = self._below
        return View(below.title, below.url, below.size, elements, (), shown, stopped=True)

    async def act(self, action: Action, view: View) -> bool:
        """Answer or edit it; True once it is closed. Raises Refused for anything else."""
        if action.kind == "look" or action.kind == "wait":
            return False
        if action.kind == "type" and self._typed is not None and action.element in (0, 1):
            self._typed = action.text
            if not action.enter:
                return False
            return await self._answer(True)
        if action.kind == "key" and action.text in ("Enter", "Escape"):
            return await self._answer(action.text == "Enter")
        if action.kind == "click":
            element = view.find(action.element) if action.element else None
            if action.point and not element:
                element = view.at(*action.point)
            if element is not None and element.role == "button":
                return await self._answer(element.name == "OK")
            if element is not None:
                return False
        raise Refused("a dialog is open: answer it first")

    async def _answer(self, accept: bool) -> bool:
        if not accept:
            await self._dialog.dismiss()
        elif self._typed is None:
            await self._dialog.accept()
        else:
            await self._dialog.accept(self._typed)
        return True

    def _image(self, elements: list[Element]) -> Image | None:
        if self._below.image is None:
            return None
        from agentrl.environments.gui.marks import drawn_over

        return drawn_over(self._below.image, elements)
