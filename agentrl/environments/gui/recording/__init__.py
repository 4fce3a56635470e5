"""Recordings: screen graphs of live applications, and episodes from them."""

from agentrl.environments.gui.recording.explore import Explored, coverage, explore
from agentrl.environments.gui.recording.graph import Edge, Node, Recording, Start
from agentrl.environments.gui.recording.parity import Difference, parity
from agentrl.environments.gui.recording.recorder import RecordingScreen, RecordingScreens
from agentrl.environments.gui.recording.replay import RecordedScreen, RecordedScreens

__all__ = [
    "Difference",
    "Edge",
    "Explored",
    "Node",
    "RecordedScreen",
    "RecordedScreens",
    "Recording",
    "RecordingScreen",
    "RecordingScreens",
    "Start",
    "coverage",
    "explore",
    "parity",
]
