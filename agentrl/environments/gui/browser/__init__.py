"""Screens of a real Chromium, through Playwright."""

from agentrl.environments.gui.browser.host import BrowserScreens, found_executable
from agentrl.environments.gui.browser.screen import BrowserScreen
from agentrl.environments.gui.browser.sites import Sites, folder_of

__all__ = ["BrowserScreen", "BrowserScreens", "Sites", "folder_of", "found_executable"]
