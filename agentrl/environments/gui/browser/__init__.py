"""Screens of a real Chromium, through Playwright."""

from agentrl.environments.gui.browser.host import BrowserScreens, found_executable
from agentrl.environments.gui.browser.screen import BrowserScreen
from agentrl.environments.gui.browser.sites import Sites, folder_of
from agentrl.environments.gui.browser.tab import page_script

__all__ = [
    "BrowserScreen",
    "BrowserScreens",
    "Sites",
    "folder_of",
    "found_executable",
    "page_script",
]
