"""What the wire formats have in common: a request as we understand it, and its mistakes."""

from __future__ import annotations

import base64
import json
import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agentrl.core import Image, Message, ToolCall, Turn

_IMAGES = ("image_url", "image")
_DATA_URL = re.compile(r"data:([\w/+.-]+);base64,(.*)", re.DOTALL)


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
    """Text of a content field: a string, or a list of blocks of text and images."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise BadRequest(f"{where}: content must be text or a list of blocks")
    parts = []
    for block in content:
        kind = block.get("type") if isinstance(block, dict) else type(block).__name__
        if kind in _IMAGES:
            continue
        if not isinstance(block, dict) or not isinstance(block.get("text"), str):
            raise BadRequest(f"{where}: content of type {kind} is not supported")
        parts.append(block["text"])
    return "".join(parts)


def images_of(content: Any, where: str) -> list[Image]:
    """Images among the blocks of a content field, in order: data URLs as OpenAI's clients send
    them, base64 sources as Anthropic's do. Nothing is fetched from elsewhere."""
    blocks = content if isinstance(content, list) else []
    return [_image(b, where) for b in blocks if isinstance(b, dict) and b.get("type") in _IMAGES]


def _image(block: Mapping[str, Any], where: str) -> Image:
    source = block.get("source" if block["type"] == "image" else "image_url")
    given = source if isinstance(source, dict) else {}
    found = _DATA_URL.fullmatch(str(given.get("url", source)))
    media_type, data = found.groups() if found else (given.get("media_type"), given.get("data"))
    try:
        return Image(base64.b64decode(str(data or "-"), validate=True), str(media_type))
    except ValueError:
        kind = block["type"]
        raise BadRequest(f"{where}: {kind} must hold a data URL or base64") from None


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
