"""What the wire formats have in common: a request as we understand it, and its mistakes."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agentrl.core import Message, ToolCall, Turn


class BadRequest(Exception):
    """The program's mistake: answered with status 400, nothing is recorded."""


@dataclass(slots=True)
class Request:
    """A conversation to be continued.

    Attributes:
        max_tokens: of the answer; None is the gateway's own limit.
        usage: say in a stream how many tokens there were.
    """

    messages: list[Message]
    tools: list[dict[str, Any]] = field(default_factory=list)
    max_tokens: int | None = None
    stream: bool = False
    usage: bool = False
    model: str = ""


@dataclass(slots=True)
class Answer:
    """A turn, and how long its context was, on the way back to the program."""

    turn: Turn
    sent: Message
    prompt_tokens: int
    model: str
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:24])
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def tokens(self) -> int:
        return len(self.turn.tokens)


def take(body: Mapping[str, Any], name: str, kind: type, default: Any = None) -> Any:
    """A field of a request. Raises BadRequest when it is of another kind."""
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise BadRequest(f"{name} must be {kind.__name__}, not {type(value).__name__}")
    return value


def refuse(body: Mapping[str, Any], unsupported: Mapping[str, Any]) -> None:
    """Raises BadRequest for a field that has a value other than the harmless ones.

    Ignoring it would answer with something else than was asked for.
    """
    for name, harmless in unsupported.items():
        value = body.get(name)
        if value is not None and value not in harmless:
            raise BadRequest(f"{name}={json.dumps(value)} is not supported by this gateway")


def text_of(content: Any, where: str) -> str:
    """Text of a content field: a string, or a list of text blocks."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise BadRequest(f"{where}: content must be text or a list of blocks")
    parts = []
    for block in content:
        if not isinstance(block, dict) or not isinstance(block.get("text"), str):
            kind = block.get("type") if isinstance(block, dict) else type(block).__name__
            raise BadRequest(f"{where}: content of type {kind} is not supported")
        parts.append(block["text"])
    return "".join(parts)


def tool_spec(name: str, description: Any, parameters: Any) -> dict[str, Any]:
    """A tool in the form that chat templates take."""
    function = {
        "name": name,
        "description": description or "",
        "parameters": parameters or {"type": "object", "properties": {}},
    }
    return {"type": "function", "function": function}


def read_call(name: Any, arguments: Any, call_id: Any, where: str) -> ToolCall:
    """A call as a program sends it back; arguments are an object or JSON of one."""
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments or "{}")
        except ValueError as error:
            raise BadRequest(f"{where}: arguments of a call are not JSON: {error}") from None
    if not isinstance(name, str) or not isinstance(arguments, dict):
        raise BadRequest(f"{where}: a call needs a name and an object of arguments")
    return ToolCall(name, arguments, id=call_id if isinstance(call_id, str) else "")
