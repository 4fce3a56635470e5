"""One page of the browser, asked through an isolated world and the DevTools protocol."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, TypeVar

from agentrl.core import InfraError
from agentrl.environments.gui.screen import Refused

if TYPE_CHECKING:
    from playwright.async_api import CDPSession, Dialog, Page

T = TypeVar("T")
_WORLD = "agentrl"
_GONE = ("Cannot find context", "Execution context was destroyed", "Inspected target navigated")
_LOAD_SECONDS = 15.0


class Interrupted(Exception):
    """A dialog opened: what was asked of the page is answered once the dialog is."""


class Tab:
    """A page, its isolated world, and what interrupts it.

    Args:
        page: of Playwright.
        seconds: that the page may take to answer before the tab counts as hung; may be set.
    """

    def __init__(self, page: Page, *, seconds: float = 30.0) -> None:
        self.page = page
        self.dialog: Dialog | None = None
        self.opening = False
        self.failed = ""
        self.requests: set[str] = set()
        self.seconds = seconds
        self._cdp: CDPSession | None = None
        self._context: int | None = None
        self._answered: int | None = None
        self._frame = ""
        self._waiting: set[asyncio.Future[None]] = set()
        self._abandoned: set[asyncio.Future[Any]] = set()

    async def start(self) -> None:
        """Listen, and put our script into every document of the page."""
        page = self.page
        page.on("crash", lambda _: self.fail("tab_crashed"))
        page.on("close", lambda _: self.fail("tab_closed"))
        cdp = self._cdp = await page.context.new_cdp_session(page)
        cdp.on("Runtime.executionContextCreated", self._on_context)
        cdp.on("Runtime.executionContextDestroyed", self._on_context_gone)
        cdp.on("Runtime.executionContextsCleared", self._on_contexts_gone)
        cdp.on("Page.windowOpen", self._on_window)
        cdp.on("Network.requestWillBeSent", self._on_request)
        cdp.on("Network.loadingFinished", self._on_answered)
        cdp.on("Network.loadingFailed", self._on_answered)
        cdp.on("Inspector.targetCrashed", lambda _: self.fail("tab_crashed"))
        # The target of a page has the id of its main frame.
        target = await cdp.send("Target.getTargetInfo")
        self._frame = target["targetInfo"]["targetId"]
        script = {"source": page_script(), "worldName": _WORLD, "runImmediately": True}
        await self.guard(
            asyncio.gather(
                cdp.send("Page.enable"),
                cdp.send("Inspector.enable"),
                cdp.send("Network.enable", {"maxTotalBufferSize": 0, "maxResourceBufferSize": 0}),
                cdp.send("Runtime.enable"),
                cdp.send("Page.addScriptToEvaluateOnNewDocument", script),
            )
        )

    def fail(self, cause: str) -> None:
        """The page is gone; everything that waits for it ends with InfraError."""
        self.failed = self.failed or cause
        self._wake()

    def answered(self, request: str) -> None:
        """One of `requests` is no longer under way."""
        self.requests.discard(request)
        if not self.requests:
            self._wake()

    def interrupt(self, dialog: Dialog) -> None:
        self.dialog = dialog
        self._wake()

    async def guard(self, asked: Awaitable[T], seconds: float | None = None) -> T:
        """Wait for an answer of the page.

        Raises:
            Interrupted: a dialog opened before the answer came.
            InfraError: the page crashed, was closed, or did not answer in time.
        """
        task = asyncio.ensure_future(asked)
        deadline = time.monotonic() + (seconds or self.seconds)
        while not task.done():
            if self.failed or self.dialog is not None:
                self._leave(task)
                self._check()
                raise Interrupted
            changed = self._change()
            left = deadline - time.monotonic()
            both: set[asyncio.Future[Any]] = {task, changed}
            await asyncio.wait(both, timeout=left, return_when="FIRST_COMPLETED")
            self._waiting.discard(changed)
            if not task.done() and time.monotonic() >= deadline:
                self._leave(task)
                raise InfraError("screen_hung", "the page did not answer in time", where=self.url)
        try:
            return task.result()
        except Exception as error:
            self._check()
            if self.page.is_closed() or "Target crashed" in str(error):
                raise InfraError("tab_closed", f"the page is gone: {error}") from error
            raise

    async def inside(self, expression: str) -> Any:
        """Evaluate in our world of the current document; waits for one that is being loaded."""
        deadline = time.monotonic() + _LOAD_SECONDS
        while time.monotonic() < deadline:
            if self._context is None:
                await self._wait_changed(deadline)
                continue
            self._answered = self._context
            try:
                return await self._evaluate(expression, self._context)
            except Exception as error:
                if not any(text in str(error) for text in _GONE):
                    raise
                await asyncio.sleep(0.005)
        raise InfraError("screen_hung", "no document was loaded in time", where=self.url)

    async def main(self, expression: str) -> Any:
        """Evaluate among the page's own scripts."""
        return await self._evaluate(expression, None)

    async def leave(self) -> None:
        """Wait until the document that answered last has been replaced, or has stayed."""
        deadline = time.monotonic() + _LOAD_SECONDS
        while self._context == self._answered and time.monotonic() < deadline:
            await self._wait_changed(deadline)

    async def quiet(self, deadline: float) -> bool:
        """Wait for the requests that are under way; True when there were none."""
        idle = not self.requests
        while self.requests and time.monotonic() < deadline:
            await self._wait_changed(deadline)
        return idle

    async def has_past(self) -> bool:
        """Whether there is a page before this one; the blank one of a new tab is none."""
        assert self._cdp is not None
        found = await self.guard(self._cdp.send("Page.getNavigationHistory"))
        before = found["entries"][: found["currentIndex"]]
        return bool(before) and before[-1]["url"] != "about:blank"

    async def press(self, x: float, y: float, count: int = 1) -> None:
        """Click with the left button; the events go out together."""
        assert self._cdp is not None
        where = {"x": x, "y": y}
        sent = [{"type": "mouseMoved", **where}]
        for nth in range(1, count + 1):
            button = {**where, "button": "left", "clickCount": nth}
            sent.append({"type": "mousePressed", "buttons": 1, **button})
            sent.append({"type": "mouseReleased", "buttons": 0, **button})
        send = self._cdp.send
        await self.guard(asyncio.gather(*(send("Input.dispatchMouseEvent", e) for e in sent)))

    async def capture(self) -> str:
        """Base64 of a PNG of the viewport."""
        assert self._cdp is not None
        how = {"format": "png", "optimizeForSpeed": True, "captureBeyondViewport": False}
        found = await self.guard(self._cdp.send("Page.captureScreenshot", how))
        data: str = found["data"]
        return data

    @property
    def url(self) -> str:
        return str(self.page.url)

    async def _evaluate(self, expression: str, context: int | None) -> Any:
        assert self._cdp is not None
        how: dict[str, Any] = {
            "expression": expression,
            "returnByValue": True,
            "awaitPromise": True,
        }
        if context is not None:
            how["contextId"] = context
        found = await self.guard(self._cdp.send("Runtime.evaluate", how))
        if "exceptionDetails" in found:
            said = found["exceptionDetails"]
            raise PageError(said.get("exception", {}).get("description", said.get("text", "")))
        return found["result"].get("value")

    def _leave(self, task: asyncio.Future[Any]) -> None:
        """Let a question be answered later, unheard."""
        self._abandoned.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Future[Any]) -> None:
        self._abandoned.discard(task)
        if not task.cancelled():
            task.exception()

    def _change(self) -> asyncio.Future[None]:
        """Done at the next thing that happens to the page."""
        changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(changed)
        return changed

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, set()
        for changed in waiting:
            if not changed.done():
                changed.set_result(None)

    def _check(self) -> None:
        if self.failed:
            raise InfraError(self.failed, "the page is gone", where=self.url)

    async def _wait_changed(self, deadline: float) -> None:
        """Until anything happened to the page. Raises like `guard`."""
        self._check()
        if self.dialog is not None:
            raise Interrupted
        changed = self._change()
        await asyncio.wait({changed}, timeout=max(deadline - time.monotonic(), 0.0))
        self._waiting.discard(changed)
        self._check()
        if self.dialog is not None:
            raise Interrupted

    def _on_context(self, event: dict[str, Any]) -> None:
        context = event["context"]
        about = context.get("auxData", {})
        if context["name"] == _WORLD and about.get("frameId") == self._frame:
            self._context = context["id"]
            self._wake()

    def _on_context_gone(self, event: dict[str, Any]) -> None:
        if event.get("executionContextId") == self._context:
            self._context = None
            self._wake()

    def _on_contexts_gone(self, _: Any) -> None:
        self._context = None
        self.requests.clear()
        self._wake()

    def _on_request(self, event: dict[str, Any]) -> None:
        # Told before the answer to whatever we ask afterwards, unlike Playwright's own events.
        if event.get("type") not in ("EventSource", "Ping", "Media"):
            self.requests.add(event["requestId"])

    def _on_answered(self, event: dict[str, Any]) -> None:
        self.answered(event["requestId"])

    def _on_window(self, _: Any) -> None:
        self.opening = True


class PageError(Exception):
    """A script of the task or of ours failed in the page."""


@cache
def page_script() -> str:
    here = files("agentrl.environments.gui.browser")
    return "".join(here.joinpath(name).read_text() for name in ("clipboard.js", "page.js"))


def refuse(answer: dict[str, Any], what: str) -> None:
    """Raises Refused when our script answered with an error."""
    error = answer.get("error")
    if error is None:
        return
    said = {
        "gone": f"{what} is not on the page any more",
        "outside": f"{what} cannot be brought into view",
        "covered": f"{what} is covered by {json.dumps(answer.get('by', ''))}",
    }.get(error, f"{what}: {error}")
    if "options" in answer:
        said += "; there are " + ", ".join(json.dumps(o) for o in answer["options"])
    raise Refused(said)
