"""Episodes: chat rendering, tool-call dialects, the runner (one) and the scheduler (many)."""

from agentrl.episodes.dialects import Dialect, dialect, dialects
from agentrl.episodes.rerender import rerender
from agentrl.episodes.runner import Limits, Runner
from agentrl.episodes.scheduler import Scheduler
from agentrl.episodes.transcript import ChatFormat, Transcript

__all__ = [
    "ChatFormat",
    "Dialect",
    "Limits",
    "Runner",
    "Scheduler",
    "Transcript",
    "dialect",
    "dialects",
    "rerender",
]
