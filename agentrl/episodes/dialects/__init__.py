"""How models write tool calls: one small reader and writer per dialect."""

from agentrl.episodes.dialects.base import Dialect, Specs, dialect, dialects, instructions
from agentrl.episodes.dialects.detect import detect_dialect

__all__ = ["Dialect", "Specs", "detect_dialect", "dialect", "dialects", "instructions"]
