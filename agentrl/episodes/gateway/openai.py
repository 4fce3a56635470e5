"""The chat completions format of OpenAI, as clients send and read it."""

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

_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
_UNSUPPORTED: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "stop": ("", []),
    "response_format": ({"type": "text"},),
    "logit_bias": ({},),
    "tool_choice": ("auto", "none"),
    "top_p": (1, 1.0),
    "presence_penalty": (0, 0.0),
    "frequency_penalty": (0, 0.0),
}


def read(body: Mapping[str, Any]) -> Request:
    """Raises BadRequest."""
    refuse(body, _UNSUPPORTED)
    messages = take(body, "messages", list, [])
    if not messages:
        raise BadRequest("messages must be a list with at least one message")
    tools = take(body, "tools", list, []) if body.get("tool_choice") != "none" else []
    limit = take(body, "max_completion_tokens", int) or take(body, "max_tokens", int)
    options = take(body, "stream_options", dict, {})
    return Request(
        [_message(m, i) for i, m in enumerate(messages)],
        [_tool(t) for t in tools],
        limit,
        bool(take(body, "stream", bool, False)),
        bool(options.get("include_usage")),
        take(body, "model", str, ""),
    )


def write(answer: Answer) -> dict[str, Any]:
    """A `chat.completion`."""
    message: dict[str, Any] = {"role": "assistant", "content": answer.sent.content or None}
    if answer.sent.calls:
        message["tool_calls"] = _calls(answer)
    else:
        message["content"] = answer.sent.content
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _reason(answer)}
    head = _head(answer, "chat.completion")
    return {**head, "choices": [choice], "usage": _usage(answer)}


def stream(answer: Answer, *, usage: bool) -> Iterator[str]:
    """Server-sent events of the same answer."""

    def chunk(delta: dict[str, Any], reason: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        head = _head(answer, "chat.completion.chunk")
        return f"data: {json.dumps({**head, 'choices': [choice]})}\n\n"

    yield chunk({"role": "assistant", "content": ""})
    if answer.sent.content:
        yield chunk({"content": answer.sent.content})
    for i, call in enumerate(_calls(answer)):
        yield chunk({"tool_calls": [{"index": i, **call}]})
    yield chunk({}, _reason(answer))
    if usage:
        head = _head(answer, "chat.completion.chunk")
        yield f"data: {json.dumps({**head, 'choices': [], 'usage': _usage(answer)})}\n\n"
    yield "data: [DONE]\n\n"


def error(status: int, code: str, what: str) -> dict[str, Any]:
    kind = "invalid_request_error" if status < 500 else "server_error"
    return {"error": {"message": what, "type": kind, "param": None, "code": code}}


def _message(given: Any, index: int) -> Message:
    where = f"messages[{index}]"
    if not isinstance(given, dict):
        raise BadRequest(f"{where} is not an object")
    role = given.get("role")
    content = text_of(given.get("content"), where)
    images = images_of(given.get("content"), where)
    if role == "tool":
        call_id = given.get("tool_call_id")
        if not isinstance(call_id, str):
            raise BadRequest(f"{where}: a tool message needs a tool_call_id")
        name = take(given, "name", str, "")
        return Message("tool", content, call_id=call_id, name=name, images=images)
    if role not in _ROLES:
        raise BadRequest(f"{where}: unknown role {role!r}")
    message = Message(_ROLES[role], content, images=images)  # type: ignore[arg-type]
    for call in take(given, "tool_calls", list, []):
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict):
            raise BadRequest(f"{where}: a tool call needs a function")
        name, arguments = function.get("name"), function.get("arguments")
        message.calls.append(read_call(name, arguments, call.get("id"), where))
    return message


def _tool(given: Any) -> dict[str, Any]:
    function = given.get("function") if isinstance(given, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise BadRequest("a tool needs a function with a name")
    return tool_spec(function["name"], function.get("description"), function.get("parameters"))


def _calls(answer: Answer) -> list[dict[str, Any]]:
    return [
        {
            "id": call.id,
            "type": "function",
            "function": {
                "name": call.name,
                "arguments": json.dumps(call.arguments, ensure_ascii=False),
            },
        }
        for call in answer.sent.calls
    ]


def _reason(answer: Answer) -> str:
    if answer.turn.finish_reason == "length":
        return "length"
    return "tool_calls" if answer.sent.calls else "stop"


def _head(answer: Answer, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{answer.id}",
        "object": kind,
        "created": answer.created,
        "model": answer.model,
    }


def _usage(answer: Answer) -> dict[str, int]:
    return {
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.tokens,
        "total_tokens": answer.prompt_tokens + answer.tokens,
    }
