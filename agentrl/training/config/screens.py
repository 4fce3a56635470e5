"""Where the screens of GUI episodes come from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Tag

from agentrl.training.config.base import Section, by_kind


class BrowserConfig(Section):
    """Chromium through Playwright: one process, an isolated context an episode."""

    kind: Literal["browser"] = "browser"
    sites: dict[str, str] = {}
    """Folders of static files by name, served to the browser as http://NAME.test; a path, or
    package.module:folder for one inside an installed package."""
    allow: list[str] = []
    """Further origins that tasks may ask for, such as http://127.0.0.1:8000; nothing else can be
    reached."""
    executable: str | None = None
    """Chromium; None: the system's, or the one that Playwright installed."""
    width: Annotated[int, Field(ge=16)] = 800
    """Of the page in pixels, where the task does not say."""
    height: Annotated[int, Field(ge=16)] = 600
    """Of the page in pixels, where the task does not say."""
    seconds: Annotated[float, Field(gt=0)] = 30.0
    """That a page may take to answer before its episode counts as broken."""


class RecordingConfig(Section):
    """A recorded screen graph; no browser is started for what it knows."""

    kind: Literal["recording"] = "recording"
    path: str
    """Folder of the recording."""
    live: BrowserConfig | None = None
    """Where an episode goes on after a step that was not recorded; None: such a step ends it."""
    extend: bool = False
    """What is then seen is added to the recording."""


class DesktopConfig(Section):
    """A program on an X display in a sandbox; see environment.sandbox."""

    kind: Literal["desktop"] = "desktop"
    width: Annotated[int, Field(ge=16)] = 800
    """Of the display in pixels."""
    height: Annotated[int, Field(ge=16)] = 600
    """Of the display in pixels."""


class AndroidConfig(Section):
    """Android devices or emulators through adb."""

    kind: Literal["android"] = "android"
    serials: Annotated[list[str], Field(min_length=1)]
    """Devices by the names of `adb devices`; each runs one episode at a time."""


ScreenConfig = Annotated[
    Annotated[BrowserConfig, Tag("kind=browser")]
    | Annotated[RecordingConfig, Tag("kind=recording")]
    | Annotated[DesktopConfig, Tag("kind=desktop")]
    | Annotated[AndroidConfig, Tag("kind=android")],
    by_kind("browser"),
]
