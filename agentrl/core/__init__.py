"""The vocabulary: what a task, a turn, an episode, a group and a score are.

Nothing here imports anything of agentrl outside `core`, and nothing heavier than numpy.
"""

from agentrl.core.chat import ChatModel, ChatReply, Scorer, TokenScores
from agentrl.core.engine import Engine, Generation, Sampling
from agentrl.core.episode import Episode, Group, Origin, Segment, SegmentBuilder, Status, Turn
from agentrl.core.errors import (
    AgentRLError,
    ConfigError,
    InfraError,
    ModelError,
    SandboxError,
    TaskFileError,
)
from agentrl.core.images import ImageTokens, PlacedImage, content_keys
from agentrl.core.messages import Image, Message, ToolCall, ToolResult
from agentrl.core.sandbox import (
    PYTEST_IMPORTS,
    ExecResult,
    Process,
    Sandbox,
    SandboxProvider,
    WarmPython,
)
from agentrl.core.score import Check, CheckKind, Reward, Score, Span
from agentrl.core.seeds import derive_seed
from agentrl.core.task import Task

__all__ = [
    "PYTEST_IMPORTS",
    "AgentRLError",
    "ChatModel",
    "ChatReply",
    "Check",
    "CheckKind",
    "ConfigError",
    "Engine",
    "Episode",
    "ExecResult",
    "Generation",
    "Group",
    "Image",
    "ImageTokens",
    "InfraError",
    "Message",
    "ModelError",
    "Origin",
    "PlacedImage",
    "Process",
    "Reward",
    "Sampling",
    "Sandbox",
    "SandboxError",
    "SandboxProvider",
    "Score",
    "Scorer",
    "Segment",
    "SegmentBuilder",
    "Span",
    "Status",
    "Task",
    "TaskFileError",
    "TokenScores",
    "ToolCall",
    "ToolResult",
    "Turn",
    "WarmPython",
    "content_keys",
    "derive_seed",
]
