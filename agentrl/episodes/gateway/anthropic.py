"""The messages format of Anthropic, as clients send and read it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from agentrl.core import Message
from agentrl.episodes.gateway.wire import (
    Answer,
    BadRequest,
    Request,
    images_of,
    read_call,
    refuse,
    take,
    text_of,
    tool_spec,
)

_UNSUPPORTED: dict[str, tuple[Any, ...]] = {
    "stop_sequences": ([],),
    "top_p": (1, 1.0),
    "top_k": (0, -1),
    "tool_choice": ({"type": "auto"}, {"type": "none"}),
    "thinking": ({"type": "disabled"},),
}


def read(body: Mapping[str, Any]) -> Request:
    """Raises BadRequest."""
    refuse(body, _UNSUPPORTED)
    messages: list[Message] = []
    system = text_of(body.get("system"), "system")
    if system:
        messages.append(Message("system", system))
    given = take(body, "messages", list, [])
    if not given:
        raise BadRequest("messages must be a list with at least one message")
    for i, message in enumerate(given):
        messages += _messages(message, f"messages[{i}]")
    none = body.get("tool_choice") == {"type": "none"}
    tools = [] if none else take(body, "tools", list, [])
    return Request(
        messages,
        [_tool(t) for t in tools],
        take(body, "max_tokens", int),
        bool(take(body, "stream", bool, False)),
        True,
        take(body, "model", str, ""),
    )


def write(answer: Answer) -> dict[str, Any]:
    """A `message`."""
    return {
        **_head(answer),
        "content": _blocks(answer),
        "stop_reason": _reason(answer),
        "usage": {"input_tokens": answer.prompt_tokens, "output_tokens": answer.tokens},
    }


def stream(answer: Answer, *, usage: bool) -> Iterator[str]:
    """Server-sent events of the same answer; they always say the usage."""

    def event(kind: str, **data: Any) -> str:
        return f"event: {kind}\ndata: {json.dumps({'type': kind, **data})}\n\n"

    begun = {"input_tokens": answer.prompt_tokens, "output_tokens": 0}
    start = {**_head(answer), "content": [], "stop_reason": None, "usage": begun}
    yield event("message_start", message=start)
    for i, block in enumerate(_blocks(answer)):
        if block["type"] == "text":
            empty, delta = {**block, "text": ""}, {"type": "text_delta", "text": block["text"]}
        else:
            empty = {**block, "input": {}}
            written = json.dumps(block["input"], ensure_ascii=False)
            delta = {"type": "input_json_delta", "partial_json": written}
        yield event("content_block_start", index=i, content_block=empty)
        yield event("content_block_delta", index=i, delta=delta)
        yield event("content_block_stop", index=i)
    yield event(
        "message_delta",
        delta={"stop_reason": _reason(answer), "stop_sequence": None},
        usage={"output_tokens": answer.tokens},
    )
    yield event("message_stop")


def error(status: int, code: str, what: str) -> dict[str, Any]:
    kind = "invalid_request_error" if status < 500 else "api_error"
    return {"type": "error", "error": {"type": kind, "message": what, "code": code}}


def _messages(given: Any, where: str) -> list[Message]:
    """One message of theirs is text, calls, or results of calls, in blocks; results come first."""
    if not isinstance(given, dict) or given.get("role") not in ("user", "assistant"):
        raise BadRequest(f"{where}: a message is an object with the role user or assistant")
    content = given.get("content")
    if isinstance(content, str):
        return [Message(given["role"], content)]
    if not isinstance(content, list):
        raise BadRequest(f"{where}: content must be text or a list of blocks")
    said = Message(given["role"], "")
    results: list[Message] = []
    for block in content:
        kind = block.get("type") if isinstance(block, dict) else None
        if kind == "text":
            said.content += text_of([block], where)
        elif kind == "tool_use" and said.role == "assistant":
            call = read_call(block.get("name"), block.get("input"), block.get("id"), where)
            said.calls.append(call)
        elif kind == "tool_result" and said.role == "user":
            result = block.get("content")
            text, images = text_of(result, where), images_of(result, where)
            call_id = take(block, "tool_use_id", str, "")
            results.append(Message("tool", text, call_id=call_id, images=images))
        elif kind == "image" and said.role == "user":
            said.images += images_of([block], where)
        else:
            raise BadRequest(f"{where}: a block of type {kind!r} is not supported")
    keep = said.content or said.calls or said.images or not results
    return [*results, said] if keep else results


def _tool(given: Any) -> dict[str, Any]:
    if not isinstance(given, dict) or not isinstance(given.get("name"), str):
        raise BadRequest("a tool needs a name")
    return tool_spec(given["name"], given.get("description"), given.get("input_schema"))


def _blocks(answer: Answer) -> list[dict[str, Any]]:
    sent = answer.sent
    said = [{"type": "text", "text": sent.content}] if sent.content or not sent.calls else []
    return said + [
        {"type": "tool_use", "id": c.id, "name": c.name, "input": c.arguments} for c in sent.calls
    ]


def _reason(answer: Answer) -> str:
    if answer.turn.finish_reason == "length":
        return "max_tokens"
    return "tool_use" if answer.sent.calls else "end_turn"


def _head(answer: Answer) -> dict[str, Any]:
    return {
        "id": f"msg_{answer.id}",
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "stop_sequence": None,
    }
