"""Episodes: chat rendering, tool-call dialects, the runner (one) and the scheduler (many)."""

from agentrl.episodes.chatformat import ChatFormat
from agentrl.episodes.dialects import (
    Dialect,
    detect_dialect,
    dialect,
    dialects,
    instructions,
)
from agentrl.episodes.forks import States, go_back, prefix
from agentrl.episodes.formats import ChatFormats
from agentrl.episodes.inform import informed
from agentrl.episodes.rerender import rerender
from agentrl.episodes.runner import Limits, Runner
from agentrl.episodes.scheduler import RunsEpisodes, Scheduler
from agentrl.episodes.slots import Resources, Slots
from agentrl.episodes.transcript import Transcript

__all__ = [
    "ChatFormat",
    "ChatFormats",
    "Dialect",
    "Limits",
    "Resources",
    "Runner",
    "RunsEpisodes",
    "Scheduler",
    "Slots",
    "States",
    "Transcript",
    "detect_dialect",
    "dialect",
    "dialects",
    "go_back",
    "informed",
    "instructions",
    "prefix",
    "rerender",
]
