"""One Chromium for all episodes, started again when it dies."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from agentrl.core import ConfigError, InfraError, Task, TaskFileError
from agentrl.environments.gui.browser.screen import BrowserScreen
from agentrl.environments.gui.browser.sites import Sites
from agentrl.environments.gui.task import ScreenTask, screen_task

if TYPE_CHECKING:
    from playwright.async_api import Browser, Playwright

FLAGS = (
    "--disable-gpu-vsync",
    "--disable-frame-rate-limit",
    "--disable-smooth-scrolling",
    "--disable-background-networking",
    "--force-webrtc-ip-handling-policy=disable_non_proxied_udp",
)
_INSTALLED = ("chromium", "chromium-browser", "google-chrome")


class BrowserScreens:
    """Opens an isolated context an episode, in one browser process.

    Args:
        sites: folders that are served as `http://NAME.test`.
        allow: further origins that tasks may ask for ("http://127.0.0.1:8000"); nothing else
            can be reached, by whatever protocol.
        viewport: width and height of pages in pixels, where the task does not say.
        executable: of Chromium; found on the PATH, or Playwright's own, when left out.
        seconds: that a page may take to answer before its tab counts as hung.
        settle: seconds that requests started by an action may take before the screen is read.
    """

    def __init__(
        self,
        sites: Mapping[str, Path] | None = None,
        *,
        allow: Sequence[str] = (),
        viewport: tuple[int, int] = (800, 600),
        executable: str | None = None,
        seconds: float = 30.0,
        settle: float = 2.0,
        locale: str = "en-US",
        timezone: str = "UTC",
    ) -> None:
        self._sites = Sites(sites or {})
        self._allow = tuple(origin(url) for url in allow)
        self._viewport, self._executable = viewport, executable or found_executable()
        self._seconds, self._settle = seconds, settle
        self._locale, self._timezone = locale, timezone
        self._playwright: Playwright | None = None
        self._browser: Browser | None = None
        self._starting = asyncio.Lock()
        self.launches = 0

    async def open(self, task: Task) -> BrowserScreen:
        """A fresh context that shows the task's first page.

        Raises:
            TaskFileError: the task asks for an origin that the run does not allow.
            InfraError: the browser or the page cannot be had.
        """
        wanted = screen_task(task)
        reachable = self._limits(task, wanted)
        from playwright.async_api import Error

        screen: BrowserScreen | None = None
        for attempt in (1, 2):
            browser = await self._running()
            try:
                screen = await self._screen(browser, wanted, reachable)
                await screen.start()
                return screen
            except InfraError as error:
                await _discard(screen)
                if attempt == 2 or error.cause not in ("browser_died", "tab_closed", "tab_crashed"):
                    raise
            except Error as error:
                await _discard(screen)
                if attempt == 2 or browser.is_connected():
                    raise InfraError("browser_died", f"no page could be opened: {error}") from error
        raise AssertionError

    async def close(self) -> None:
        async with self._starting:
            await self._stop()
            await self._sites.close()

    async def _running(self) -> Browser:
        """The browser; launched when there is none, or the last one died."""
        async with self._starting:
            if self._browser is None or not self._browser.is_connected():
                await self._stop()
                await self._sites.start()
                self._browser = await self._launch()
                self.launches += 1
            return self._browser

    async def _launch(self) -> Browser:
        try:
            from playwright.async_api import Error, async_playwright
        except ImportError as error:
            raise ConfigError(
                "the browser needs Playwright", fix="pip install 'agentrl[gui]'"
            ) from error
        self._playwright = await async_playwright().start()
        # Chromium's own sandbox refuses to run as root.
        sandbox = [] if hasattr(os, "getuid") and os.getuid() else ["--no-sandbox"]
        rules = [*self._sites.rules, *(_rule(url) for url in self._allow), "MAP * ~NOTFOUND"]
        flags = [*FLAGS, *sandbox, f"--host-resolver-rules={', '.join(rules)}"]
        if self._sites.origins:
            # Like pages that came over https, for which the applications were made.
            secure = ",".join(sorted(self._sites.origins))
            flags.append(f"--unsafely-treat-insecure-origin-as-secure={secure}")
        try:
            return await self._playwright.chromium.launch(
                executable_path=self._executable, args=flags
            )
        except Error as error:
            await self._stop()
            raise InfraError(
                "browser_died",
                f"Chromium does not start: {str(error).splitlines()[0]}",
                fix="apt-get install chromium, or playwright install chromium",
            ) from error

    async def _stop(self) -> None:
        """Let go of the browser and of Playwright's driver, whatever state they are in."""
        browser, self._browser = self._browser, None
        playwright, self._playwright = self._playwright, None
        for stop in (browser and browser.close, playwright and playwright.stop):
            if stop:
                await _quietly(stop())

    async def _screen(self, browser: Browser, task: ScreenTask, reachable: Any) -> BrowserScreen:
        width, height = task.viewport or self._viewport
        stored: Any = [
            {"origin": where, "localStorage": [{"name": k, "value": v} for k, v in held.items()]}
            for where, held in task.storage.items()
        ]
        context = await browser.new_context(
            viewport={"width": width, "height": height},
            storage_state={"cookies": [], "origins": stored} if stored else None,
            permissions=list(task.permissions),
            accept_downloads=True,
            service_workers="block",
            reduced_motion="reduce",
            locale=self._locale,
            timezone_id=self._timezone,
        )
        if set(self._allow) - set(task.allow):
            await _narrow(context, self._sites.origins | set(map(origin, task.allow)))
        return BrowserScreen(
            context,
            task,
            reachable=reachable,
            settle=self._settle,
            seconds=self._seconds,
        )

    def _limits(self, task: Task, wanted: ScreenTask) -> Any:
        """What may be reached in a task."""
        allowed = {origin(url) for url in wanted.allow}
        denied = allowed - set(self._allow) - self._sites.origins
        if denied:
            raise TaskFileError(
                f"the run does not allow {', '.join(sorted(denied))}",
                where=f"task {task.id}",
                fix="add it to environment.allow",
            )
        within = allowed | self._sites.origins

        def reachable(url: str) -> bool:
            return url == "about:blank" or origin(url) in within

        if not reachable(wanted.start):
            raise TaskFileError(
                f"the first page {wanted.start} is in no site of the run",
                where=f"task {task.id}",
                fix="name its site in environment.sites, or its origin in payload.allow",
            )
        return reachable


def found_executable() -> str | None:
    """Chromium of the system; None to use the one that Playwright installed."""
    return next((path for name in _INSTALLED if (path := shutil.which(name))), None)


def origin(url: str) -> str:
    """`http://host:port` of a URL, with the port left out where it is the scheme's own."""
    parts = urlsplit(url)
    default = {"http": 80, "https": 443}.get(parts.scheme)
    port = f":{parts.port}" if parts.port not in (None, default) else ""
    return f"{parts.scheme}://{parts.hostname}{port}"


def _rule(url: str) -> str:
    parts = urlsplit(url)
    where = f"{parts.hostname}:{parts.port or {'https': 443}.get(parts.scheme, 80)}"
    return f"MAP {where} {where}"


async def _narrow(context: Any, origins: set[str]) -> None:
    """Keep a context within fewer origins than the run allows."""
    within = "|".join(re.escape(url) for url in sorted(origins))
    outside = re.compile(rf"^(?!(?:{within})(?:[/?#:]|$))(?:https?|wss?)://")
    await context.route(outside, lambda route: route.abort())
    await context.route_web_socket(outside, lambda socket: socket.close())


async def _discard(screen: BrowserScreen | None) -> None:
    if screen is not None:
        await screen.close()


async def _quietly(stopping: Any) -> None:
    """Wait for something that may be broken already."""
    from playwright.async_api import Error

    try:
        async with asyncio.timeout(10.0):
            await stopping
    except (Error, TimeoutError, OSError):
        return
