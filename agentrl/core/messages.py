"""What is said between policy and environment."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, Literal

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(slots=True)
class Image:
    """An image of an observation: encoded bytes (PNG or JPEG) and their media type."""

    data: bytes
    media_type: str = "image/png"

    @property
    def digest(self) -> str:
        """Address of its content: equal bytes are one image, wherever they stand."""
        return hashlib.blake2b(self.data, digest_size=16).hexdigest()


@dataclass(slots=True)
class ToolCall:
    """A call that the policy asked for.

    `error` is set when the text looked like a call but could not be read as one; such a call is
    answered with an observation that says so, and is never executed.
    """

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    id: str = ""
    raw: str = ""
    error: str | None = None


@dataclass(slots=True)
class ToolResult:
    """What a call came to.

    Attributes:
        text: what the policy is shown.
        ok: False when the call was refused or the tool failed by the policy's doing.
        error: why not, as a short stable name ("unknown_tool", "bad_arguments", "raised",
            "refused", "deadline", "malformed", "cut_off", "episode_over"), None when ok.
        seconds: wall time of the tool.
    """

    text: str
    ok: bool = True
    error: str | None = None
    seconds: float = 0.0
    images: list[Image] = field(default_factory=list)


@dataclass(slots=True)
class Message:
    """One message of a conversation.

    Attributes:
        hint: guidance that the policy would not get in an evaluation; its tokens carry
            `Origin.HINT` and can be stripped.
        call_id: for role "tool": the id of the call that this answers; `name` is the tool's.
        images: stand in front of the content, in order.
    """

    role: Role
    content: str
    calls: list[ToolCall] = field(default_factory=list)
    call_id: str = ""
    name: str = ""
    images: list[Image] = field(default_factory=list)
    hint: bool = False
