"""Messages as the OpenAI chat wire has them."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

from agentrl.core import Image, Message


def wire_messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Role, content (text, or parts when there are images), tool calls and what they answer."""
    return [_wire(message) for message in messages]


def _wire(message: Message) -> dict[str, Any]:
    out: dict[str, Any] = {
        "role": message.role,
        "content": content_parts(message.content, message.images),
    }
    if message.calls:
        out["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {
                    "name": call.name,
                    "arguments": json.dumps(call.arguments, ensure_ascii=False),
                },
            }
            for call in message.calls
        ]
    if message.role == "tool":
        out["tool_call_id"] = message.call_id
    elif message.name:
        out["name"] = message.name
    return out


def content_parts(text: str, images: Sequence[Image]) -> str | list[dict[str, Any]]:
    """A content as the wire has it: text, or parts with the images as data URLs."""
    if not images:
        return text
    parts: list[dict[str, Any]] = [{"type": "text", "text": text}]
    for image in images:
        data = base64.b64encode(image.data).decode("ascii")
        url = f"data:{image.media_type};base64,{data}"
        parts.append({"type": "image_url", "image_url": {"url": url}})
    return parts
