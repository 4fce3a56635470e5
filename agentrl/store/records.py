"""Objects of `core` as JSON and back, without loss.

JSON is written in ASCII: text that a tool printed may hold lone surrogates, which SQLite cannot
store as UTF-8 and JSON escapes can. NaN and infinities use Python's spelling.
"""

from __future__ import annotations

import base64
import json
from dataclasses import fields, is_dataclass
from functools import partial
from typing import Any

import numpy as np

from agentrl.core import Check, Image, Message, Score, Span, Task, ToolCall, ToolResult

_MAX_DEPTH = 200


def shallow(value: Any) -> dict[str, Any]:
    """The fields of a dataclass, not copied."""
    return {f.name: getattr(value, f.name) for f in fields(value)}


Images = dict[str, bytes]
"""Bytes of images by digest."""


def _plain(value: Any, images: Images | None = None) -> Any:
    """What JSON cannot hold, as the nearest thing that it can: a record is never refused."""
    if isinstance(value, Image) and images is not None:
        digest = value.digest
        images[digest] = value.data
        return {"digest": digest, "media_type": value.media_type}
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


def _clean(value: Any, images: Images | None, depth: int = 0) -> Any:
    """The slow way, for structures with odd keys or that hold themselves."""
    if depth > _MAX_DEPTH:
        return "(nested too deeply to store)"
    if isinstance(value, dict):
        return {
            k if isinstance(k, str) else repr(k): _clean(v, images, depth + 1)
            for k, v in value.items()
        }
    if isinstance(value, list | tuple):
        return [_clean(v, images, depth + 1) for v in value]
    if value is None or isinstance(value, str | int | float):
        return value
    return _clean(_plain(value, images), images, depth + 1)


def dump(value: Any, images: Images | None = None) -> str:
    """JSON of anything: what it cannot hold is stored as its repr, nothing is refused.

    Args:
        images: takes the bytes of images, which the JSON then only names; None: they stand in it.
    """
    try:
        plain = partial(_plain, images=images)
        return json.dumps(value, default=plain, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError):
        # User environments fill outcomes and metadata: a tuple as key must not lose an episode.
        return json.dumps(_clean(value, images), separators=(",", ":"))


def load(text: str) -> Any:
    return json.loads(text)


def column(text: str) -> str:
    """Text that SQLite takes: equal to `text` unless that holds lone surrogates."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def load_task(text: str) -> Task:
    return Task(**load(text))


def load_image(data: dict[str, Any], images: Images) -> Image:
    """An image that stands in its record or is named there."""
    if "digest" in data:
        return Image(images[data["digest"]], data["media_type"])
    return Image(base64.b64decode(data["data"]["base64"]), data["media_type"])


def load_call(data: dict[str, Any]) -> ToolCall:
    return ToolCall(**data)


def load_message(data: dict[str, Any], images: Images) -> Message:
    calls = [load_call(call) for call in data["calls"]]
    shown = [load_image(image, images) for image in data["images"]]
    return Message(**{**data, "calls": calls, "images": shown})


def load_result(data: dict[str, Any], images: Images) -> ToolResult:
    shown = [load_image(image, images) for image in data["images"]]
    return ToolResult(**{**data, "images": shown})


def load_score(text: str) -> tuple[str, Score]:
    """(name, score) of a `[name, score]` record."""
    name, data = load(text)
    checks = [Check(**check) for check in data["checks"]]
    spans = [Span(**span) for span in data.get("spans", [])]
    return name, Score(**{**data, "checks": checks, "spans": spans})
