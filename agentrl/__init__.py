"""Train tool-using language-model agents by reinforcement learning over many turns."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agentrl.core import (
        Check,
        Episode,
        Group,
        Message,
        Reward,
        Sampling,
        Score,
        Status,
        Task,
        ToolCall,
        Turn,
    )
    from agentrl.environments import Environment, Observation
    from agentrl.tools import tool

__version__ = "0.1.0"

_HOMES = {
    "agentrl.core": (
        "Check",
        "Episode",
        "Group",
        "Message",
        "Reward",
        "Sampling",
        "Score",
        "Status",
        "Task",
        "ToolCall",
        "Turn",
    ),
    "agentrl.environments": ("Environment", "Observation"),
    "agentrl.tools": ("tool",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Check",
    "Environment",
    "Episode",
    "Group",
    "Message",
    "Observation",
    "Reward",
    "Sampling",
    "Score",
    "Status",
    "Task",
    "ToolCall",
    "Turn",
    "__version__",
    "tool",
]


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        return getattr(import_module(_HOME_OF[name]), name)
    raise AttributeError(f"module 'agentrl' has no attribute {name!r}")
