"""How models write tool calls: one small reader and writer per dialect."""

from agentrl.episodes.dialects.base import Dialect, dialect, dialects

__all__ = ["Dialect", "dialect", "dialects"]
