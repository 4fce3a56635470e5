"""Objects of `core` as JSON and back, without loss.

JSON is written in ASCII: text that a tool printed may hold lone surrogates, which SQLite cannot
store as UTF-8 and JSON escapes can. NaN and infinities use Python's spelling.
"""

from __future__ import annotations

import base64
import json
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from agentrl.core import Check, Image, Message, Score, Span, Task, ToolCall, ToolResult

_MAX_DEPTH = 200


def shallow(value: Any) -> dict[str, Any]:
    """The fields of a dataclass, not copied."""
    return {f.name: getattr(value, f.name) for f in fields(value)}


def _plain(value: Any) -> Any:
    """What JSON cannot hold, as the nearest thing that it can: a record is never refused."""
    if is_dataclass(value) and not isinstance(value, type):
        return shallow(value)
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode("ascii")}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, set | frozenset):
        return sorted(value, key=repr)
    return repr(value)


def _clean(value: Any, depth: int = 0) -> Any:
    """The slow way, for structures with odd keys or that hold themselves."""
    if depth > _MAX_DEPTH:
        return "(nested too deeply to store)"
    if isinstance(value, dict):
        return {
            k if isinstance(k, str) else repr(k): _clean(v, depth + 1) for k, v in value.items()
        }
    if isinstance(value, list | tuple):
        return [_clean(v, depth + 1) for v in value]
    if value is None or isinstance(value, str | int | float):
        return value
    return _clean(_plain(value), depth + 1)


def dump(value: Any) -> str:
    """JSON of anything: what it cannot hold is stored as its repr, nothing is refused."""
    try:
        return json.dumps(value, default=_plain, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError):
        # User environments fill outcomes and metadata: a tuple as key must not lose an episode.
        return json.dumps(_clean(value), separators=(",", ":"))


def load(text: str) -> Any:
    return json.loads(text)


def column(text: str) -> str:
    """Text that SQLite takes: equal to `text` unless that holds lone surrogates."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def load_task(text: str) -> Task:
    return Task(**load(text))


def _images(data: list[dict[str, Any]]) -> list[Image]:
    return [Image(base64.b64decode(i["data"]["base64"]), i["media_type"]) for i in data]


def load_call(data: dict[str, Any]) -> ToolCall:
    return ToolCall(**data)


def load_message(data: dict[str, Any]) -> Message:
    calls = [load_call(call) for call in data["calls"]]
    return Message(**{**data, "calls": calls, "images": _images(data["images"])})


def load_result(data: dict[str, Any]) -> ToolResult:
    return ToolResult(**{**data, "images": _images(data["images"])})


def load_score(text: str) -> tuple[str, Score]:
    """(name, score) of a `[name, score]` record."""
    name, data = load(text)
    checks = [Check(**check) for check in data["checks"]]
    spans = [Span(**span) for span in data.get("spans", [])]
    return name, Score(**{**data, "checks": checks, "spans": spans})
