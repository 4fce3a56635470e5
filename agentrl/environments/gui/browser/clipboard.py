"""The clipboard of one episode; the browser has one for all of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from agentrl.environments.gui.browser.tab import Tab

if TYPE_CHECKING:
    from playwright.async_api import BrowserContext, Page

_READING = "clipboard"


class Clipboard:
    """What was copied last, by the user or by a page; text only.

    Args:
        tab_of: the tab of a page, None for one that is not there yet or any more.
    """

    def __init__(self, tab_of: Callable[[Page], Tab | None]) -> None:
        self.text = ""
        self._tab_of = tab_of

    async def install(self, context: BrowserContext) -> None:
        """Put it behind `navigator.clipboard` of every page to come."""
        here = files("agentrl.environments.gui.browser")
        await context.expose_binding("agentrlClipboard", self._called)
        await context.add_init_script(here.joinpath("clipboard_api.js").read_text())

    async def lend(self, tab: Tab) -> None:
        """What a paste in this document is to be."""
        await tab.inside(f"agentrlClipboard.hold({json.dumps(self.text)})")

    def copied(self, text: str | None) -> None:
        """Keep what our script saw being copied."""
        self.text = text or self.text

    async def _called(self, source: Any, what: str, text: str) -> str:
        """A page writes, reads, or has had its turn with what it read."""
        tab = self._tab_of(source["page"])
        if what == "write":
            self.text = text
        elif tab is not None and what == "read":
            tab.requests.add(_READING)
        elif tab is not None:
            tab.answered(_READING)
        return self.text if what == "read" else ""
