"""A browser context as the screen of one episode."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from agentrl.core import Image, InfraError
from agentrl.environments.gui.browser.clipboard import Clipboard
from agentrl.environments.gui.browser.dialogs import DialogView
from agentrl.environments.gui.browser.inputs import PERFORM
from agentrl.environments.gui.browser.tab import Interrupted, PageError, Tab
from agentrl.environments.gui.screen import Action, Element, Refused, Told, View
from agentrl.environments.gui.task import ScreenTask

if TYPE_CHECKING:
    from playwright.async_api import BrowserContext, Dialog, Download, Page

# A browser that was just started takes longer than one that is in use.
_START_SECONDS = 60.0
_OPEN_SECONDS = 5.0
_MAX_DOWNLOAD = 20 * 2**20


class BrowserScreen:
    """Pages, dialogs, pop-ups and downloads of one isolated context.

    Args:
        context: fresh, of this episode alone.
        task: what is opened, and what the application says of itself.
        reachable: whether an address may be opened.
        settle: seconds that requests which an action started may take before the screen is read.
    """

    def __init__(
        self,
        context: BrowserContext,
        task: ScreenTask,
        *,
        reachable: Any,
        settle: float = 2.0,
        seconds: float = 30.0,
    ) -> None:
        self._context, self._task = context, task
        self._reachable, self._settle, self._seconds = reachable, settle, seconds
        self._settled_call = f"agentrl.settled({json.dumps(task.hide)})"
        self._tabs: list[Tab] = []
        self._told = Told()
        self._view: View | None = None
        self._dialog: DialogView | None = None
        self._opened = asyncio.Event()
        self._adopting: set[asyncio.Task[None]] = set()
        self._downloads: list[dict[str, Any]] = []
        self._begun = self._announced = 0
        self._saving: set[asyncio.Task[None]] = set()
        self._clipboard = Clipboard(self._tab_of)

    async def start(self) -> None:
        """Open the first page. Raises InfraError when it does not answer."""
        await self._clipboard.install(self._context)
        if self._task.now is not None:
            await self._context.clock.set_fixed_time(self._task.now)
        page = await self._context.new_page()
        await self._adopt(page, max(self._seconds, _START_SECONDS))
        self._context.on("page", self._on_page)
        await self._visit(self._task.start, infra=True)
        if self._task.prepare:
            try:
                await self._tab.main(self._task.prepare)
            except Interrupted:
                pass
            except PageError as error:
                raise InfraError(
                    "prepare_failed", f"the task's preparation failed: {error}", where=self._tab.url
                ) from error
        self._tab.seconds = self._seconds

    async def look(self, *, image: bool) -> View:
        while True:
            tab = self._tab
            try:
                view = await self._read(tab, image)
            except Interrupted:
                view = self._dialog_view(tab, image)
            except InfraError:
                # A pop-up that closes itself is no fault; a last page that does is.
                if tab.failed != "tab_closed" or len(self._tabs) < 2:
                    raise
                self._drop(tab)
                continue
            self._view = view
            return view

    async def act(self, action: Action, *, image: bool) -> View:
        if self._view is None:
            await self.look(image=False)
        assert self._view is not None
        tab = self._tab
        self._announced = self._begun
        try:
            if tab.dialog is not None:
                await self._answer(tab, action)
            else:
                await self._perform(tab, action, self._view)
                await self._follow(tab)
        except Interrupted:
            pass
        return await self.look(image=image)

    async def brief(self) -> str:
        return str(await self._ask(self._task.brief)) if self._task.brief else ""

    async def ask(self, check: str) -> Any:
        for tab in self._tabs:
            if tab.dialog is not None:
                await tab.dialog.dismiss()
                tab.dialog, self._dialog = None, None
        return await self._ask(check)

    async def memory(self) -> str:
        """localStorage and sessionStorage of the page, as they are, and the clipboard."""
        try:
            stored = str(await self._tab.inside("agentrl.memory()"))
        except Interrupted:
            return "dialog"
        # As before there was one, where there is none: old recordings stay what they are.
        return f"{stored} {json.dumps(self._clipboard.text)}" if self._clipboard.text else stored

    async def extras(self) -> dict[str, Any]:
        """{"downloads": [{"name", "bytes", "sha256"}]}."""
        if self._saving:
            await asyncio.wait(self._saving, timeout=_OPEN_SECONDS)
        return {"downloads": self._downloads}

    async def close(self) -> None:
        from playwright.async_api import Error

        for task in (*self._adopting, *self._saving):
            task.cancel()
        try:
            async with asyncio.timeout(10.0):
                await self._context.close()
        except (Error, TimeoutError):
            return

    @property
    def _tab(self) -> Tab:
        return self._tabs[-1]

    async def _read(self, tab: Tab, image: bool) -> View:
        """The page once it is quiet."""
        if tab.dialog is not None:
            raise Interrupted
        found = await self._settled(tab)
        title, url, width, height, rows, copied = found
        self._clipboard.copied(copied)
        elements = [element_of(row) for row in rows]
        shot, over = await asyncio.gather(self._shot(tab, image), self._over(tab))
        if len(self._tabs) > 1:
            self._told.tell(f"window {len(self._tabs)} of {len(self._tabs)}; back closes it")
        return View(title, url, (width, height), elements, self._told.take(), shot, over)

    async def _settled(self, tab: Tab) -> list[Any]:
        end = time.monotonic() + self._settle
        while True:
            kind, *found = json.loads(await tab.inside(self._settled_call))
            if kind == "page":
                await self._gone(tab)
            elif kind == "download":
                self._announced += 1
                await self._saved()
            elif await tab.quiet(end) or time.monotonic() >= end:
                return found

    async def _gone(self, tab: Tab) -> None:
        """Wait for the next document; a response that is a download brings none."""
        waiting = asyncio.ensure_future(tab.leave())
        while not waiting.done():
            await asyncio.wait({waiting}, timeout=0.02)
            if self._begun > self._announced:
                waiting.cancel()
                self._announced += 1
                await tab.inside("agentrl.stay()")
                return await self._saved()
        await waiting

    async def _saved(self) -> None:
        """Wait until every download that was announced has begun and ended."""
        end = time.monotonic() + _OPEN_SECONDS
        while self._begun < self._announced and time.monotonic() < end:
            await asyncio.sleep(0.01)
        if self._saving:
            await asyncio.wait(self._saving, timeout=_OPEN_SECONDS)

    async def _shot(self, tab: Tab, image: bool) -> Image | None:
        return Image(base64.b64decode(await tab.capture())) if image else None

    async def _over(self, tab: Tab) -> bool:
        if not self._task.over:
            return False
        return bool(await self._ask(self._task.over))

    async def _ask(self, expression: str) -> Any:
        """A script of the task; None where the page it is on does not know it."""
        try:
            return await self._tabs[0].main(expression)
        except PageError:
            return None

    async def _perform(self, tab: Tab, action: Action, view: View) -> None:
        if action.kind == "look":
            return
        if action.kind == "open":
            await self._visit(action.text)
        elif action.kind == "back":
            await self._back(tab)
        else:
            if action.kind == "key" and "+" in action.text:
                await self._clipboard.lend(tab)
            note = await PERFORM[action.kind](tab, action, view)
            if note:
                self._told.tell(note)

    async def _follow(self, tab: Tab) -> None:
        """Wait for the window that the action opened."""
        if not tab.opening:
            return
        tab.opening = False
        try:
            async with asyncio.timeout(_OPEN_SECONDS):
                await self._opened.wait()
        except TimeoutError:
            return
        self._opened.clear()

    async def _back(self, tab: Tab) -> None:
        if await tab.has_past():
            await tab.guard(tab.page.go_back(timeout=tab.seconds * 1000))
            return
        if len(self._tabs) == 1:
            raise Refused("there is no page to go back to")
        self._drop(tab)
        await tab.page.close()
        self._told.tell("the window was closed")

    async def _visit(self, url: str, *, infra: bool = False) -> None:
        from playwright.async_api import Error

        full = url if urlsplit(url).scheme else f"http://{url}"
        if not self._reachable(full):
            raise Refused(f"{url} cannot be reached from here")
        tab = self._tab
        try:
            await tab.guard(tab.page.goto(full, timeout=tab.seconds * 1000))
        except Error as error:
            if "is interrupted by another navigation" in str(error) or "Download is" in str(error):
                return
            if infra:
                raise InfraError(
                    "page_unreachable", f"the first page did not load: {error}", where=full
                ) from error
            self._told.tell(f"the page did not load: {str(error).splitlines()[0]}")

    async def _answer(self, tab: Tab, action: Action) -> None:
        assert self._dialog is not None
        assert self._view is not None
        if await self._dialog.act(action, self._view):
            tab.dialog, self._dialog = None, None

    def _dialog_view(self, tab: Tab, image: bool) -> View:
        assert tab.dialog is not None
        if self._dialog is None:
            below = self._view or View("", tab.url, (0, 0), [])
            self._dialog = DialogView(tab.dialog, below)
        view = self._dialog.view(image=image)
        view.notes = (*self._told.take(), "a dialog is open")
        return view

    async def _adopt(self, page: Page, seconds: float) -> None:
        tab = Tab(page, seconds=seconds)
        page.on("dialog", lambda dialog: self._on_dialog(tab, dialog))
        page.on("download", self._on_download)
        page.on("filechooser", lambda _: self._told.tell("files cannot be chosen here"))
        await tab.start()
        self._tabs.append(tab)

    def _on_page(self, page: Page) -> None:
        task = asyncio.ensure_future(self._adopt_later(page))
        self._adopting.add(task)
        task.add_done_callback(self._adopting.discard)

    async def _adopt_later(self, page: Page) -> None:
        from playwright.async_api import Error

        try:
            await self._adopt(page, self._seconds)
            self._told.tell("a new window opened")
        except (Error, InfraError, Interrupted):
            self._told.tell("a window opened and closed again")
        self._opened.set()

    def _on_dialog(self, tab: Tab, dialog: Dialog) -> None:
        if dialog.type == "beforeunload":
            self._told.tell("the page asked whether to leave it; it was left")
            leaving = asyncio.ensure_future(dialog.accept())
            self._adopting.add(leaving)
            leaving.add_done_callback(self._adopting.discard)
            return
        tab.interrupt(dialog)

    def _on_download(self, download: Download) -> None:
        self._begun += 1
        task = asyncio.ensure_future(self._save(download))
        self._saving.add(task)
        task.add_done_callback(self._saving.discard)

    async def _save(self, download: Download) -> None:
        from playwright.async_api import Error

        name = download.suggested_filename
        try:
            data = await asyncio.to_thread(Path(await download.path()).read_bytes)
        except (Error, OSError):
            self._told.tell(f"the download of {name} failed")
            return
        if len(data) > _MAX_DOWNLOAD:
            self._told.tell(f"the download of {name} was too large")
            return
        row = {"name": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        self._downloads.append(row)
        self._told.tell(f"downloaded {name} ({len(data)} bytes)")

    def _tab_of(self, page: Page) -> Tab | None:
        return next((tab for tab in self._tabs if tab.page is page), None)

    def _drop(self, tab: Tab) -> None:
        self._tabs.remove(tab)


def element_of(row: list[Any]) -> Element:
    """An element from a row of our script's `view`."""
    number, role, name, left, top, right, bottom, value, states, depth, *more = row
    options = tuple(more[0]) if more else ()
    box = (left, top, right, bottom)
    return Element(number, role, name, box, value, tuple(states), depth, options)
