"""The vocabulary: what a task, a turn, an episode, a group and a score are.

Nothing here imports anything of agentrl outside `core`, and nothing heavier than numpy.
"""

from agentrl.core.chat import ChatModel, ChatReply, Scorer, TokenScores
from agentrl.core.engine import Engine, Generation, Sampling
from agentrl.core.episode import (
    Episode,
    Group,
    Origin,
    Segment,
    SegmentBuilder,
    Status,
    Turn,
    solved,
)
from agentrl.core.errors import (
    AgentRLError,
    ConfigError,
    InfraError,
    ModelError,
    SandboxError,
    TaskFileError,
)
from agentrl.core.guide import Attempt, Guide, Rollout
from agentrl.core.images import ImageTokens, PlacedImage, content_keys
from agentrl.core.messages import Image, Message, ToolCall, ToolResult
from agentrl.core.restore import (
    FileSnapshot,
    NoSnapshot,
    Restorable,
    RestorableSandbox,
    RestoreError,
    Start,
)
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
    "Attempt",
    "ChatModel",
    "ChatReply",
    "Check",
    "CheckKind",
    "ConfigError",
    "Engine",
    "Episode",
    "ExecResult",
    "FileSnapshot",
    "Generation",
    "Group",
    "Guide",
    "Image",
    "ImageTokens",
    "InfraError",
    "Message",
    "ModelError",
    "NoSnapshot",
    "Origin",
    "PlacedImage",
    "Process",
    "Restorable",
    "RestorableSandbox",
    "RestoreError",
    "Reward",
    "Rollout",
    "Sampling",
    "Sandbox",
    "SandboxError",
    "SandboxProvider",
    "Score",
    "Scorer",
    "Segment",
    "SegmentBuilder",
    "Span",
    "Start",
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
    "solved",
]
