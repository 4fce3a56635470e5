"""Screens of a run file, opened and closed together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from agentrl.core import ConfigError, SandboxProvider
from agentrl.training.config import GuiConfig
from agentrl.training.config.screens import (
    AndroidConfig,
    BrowserConfig,
    DesktopConfig,
    RecordingConfig,
)
from agentrl.training.environments import MakeEnvironment

if TYPE_CHECKING:
    from agentrl.environments.gui import Screens
    from agentrl.environments.gui.browser import BrowserScreens


@asynccontextmanager
async def gui_environments(
    config: GuiConfig, provider: SandboxProvider | None
) -> AsyncIterator[MakeEnvironment]:
    """Environments over one source of screens, opened once and closed with the block."""
    from agentrl.environments.gui import GuiEnvironment

    screens = make_screens(config, provider)
    try:
        yield lambda: GuiEnvironment(
            screens,
            screenshots=config.screenshots,
            marks=config.marks,
            max_elements=config.max_elements,
            offered=config.tools,
            instructions=_instructions(config),
        )
    finally:
        await screens.close()


def make_screens(config: GuiConfig, provider: SandboxProvider | None) -> Screens:
    """The source that the run file names. Raises ConfigError."""
    screen = config.screen
    if isinstance(screen, BrowserConfig):
        return _browser(screen)
    if isinstance(screen, RecordingConfig):
        from agentrl.environments.gui.recording import RecordedScreens, Recording

        live = _browser(screen.live) if screen.live is not None else None
        return RecordedScreens(Recording.open(Path(screen.path)), live, extend=screen.extend)
    if isinstance(screen, DesktopConfig):
        from agentrl.environments.gui.desktop import DesktopScreens

        if provider is None:
            raise ConfigError(
                "a desktop needs a sandbox",
                where="environment.sandbox",
                fix="name one whose image has the display and the program",
            )
        return DesktopScreens(provider, size=(screen.width, screen.height))
    assert isinstance(screen, AndroidConfig)
    from agentrl.environments.gui.android import AdbCommand, AndroidScreens

    return AndroidScreens([AdbCommand(serial) for serial in screen.serials])


def _browser(config: BrowserConfig) -> BrowserScreens:
    from agentrl.environments.gui.browser import BrowserScreens, folder_of

    return BrowserScreens(
        {name: folder_of(place) for name, place in config.sites.items()},
        allow=config.allow,
        viewport=(config.width, config.height),
        executable=config.executable,
        seconds=config.seconds,
    )


def _instructions(config: GuiConfig) -> str:
    if not config.evidence:
        return ""
    from agentrl.environments.gui.principles import PRINCIPLES

    return PRINCIPLES
