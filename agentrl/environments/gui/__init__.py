"""Acting on screens: browsers, recordings of them, desktops and Android devices."""

from agentrl.environments.gui.environment import GuiEnvironment
from agentrl.environments.gui.rounds import Round, rounds_of
from agentrl.environments.gui.screen import (
    Action,
    Element,
    Refused,
    Screen,
    Screens,
    Unseen,
    View,
)
from agentrl.environments.gui.task import ScreenTask, screen_task

__all__ = [
    "Action",
    "Element",
    "GuiEnvironment",
    "Refused",
    "Round",
    "Screen",
    "ScreenTask",
    "Screens",
    "Unseen",
    "View",
    "rounds_of",
    "screen_task",
]
