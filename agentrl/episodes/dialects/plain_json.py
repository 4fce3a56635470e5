"""Plain JSON: the message is one call object, or a list of them, maybe in a code fence."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from agentrl.core import ToolCall
from agentrl.episodes.dialects.base import unwritable

_FENCE = re.compile(r"\A```(?:json)?\s*\n(.*)\n```\s*\Z", re.DOTALL)
_LIST = re.compile(r"\[\s*\{")


class JsonDialect:
    """`{"name": .., "arguments": {..}}`; `parameters` (Llama 3) is read as `arguments`."""

    name = "json"

    def parse(self, text: str) -> list[ToolCall]:
        text = text.strip()
        fenced = _FENCE.match(text)
        if fenced:
            text = fenced.group(1).strip()
        if text.startswith("{"):
            return [load_call(text)]
        if not _LIST.match(text):
            return []
        value, error = _load(text)
        if error:
            return [ToolCall("", raw=text, error=error)]
        return [_as_call(item, text) for item in value]

    def format(self, calls: Sequence[ToolCall]) -> str:
        written = [dump_call(call) for call in calls]
        return written[0] if len(written) == 1 else "[" + ", ".join(written) + "]"


def load_call(text: str) -> ToolCall:
    """One call from one JSON object; `error` set when it is not one."""
    value, error = _load(text)
    return ToolCall("", raw=text, error=error) if error else _as_call(value, text)


def dump_call(call: ToolCall) -> str:
    return json.dumps({"name": call.name, "arguments": call.arguments}, ensure_ascii=False)


def _load(text: str) -> tuple[Any, str | None]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        return None, f"not valid JSON: {error.msg} at character {error.pos}"
    except ValueError as error:  # an integer of thousands of digits
        return None, f"not valid JSON: {error}"
    except RecursionError:
        return None, "not valid JSON: nested too deeply"
    why = unwritable(value)
    return (None, f"not a readable call: {why}") if why else (value, None)


def _as_call(value: Any, raw: str) -> ToolCall:
    if not isinstance(value, dict):
        return ToolCall("", raw=raw, error="a call is a JSON object with name and arguments")
    name = value.get("name")
    if not isinstance(name, str) or not name:
        return ToolCall("", raw=raw, error='a call needs a "name", a string')
    arguments = value.get("arguments", value.get("parameters", {}))
    if not isinstance(arguments, dict):
        return ToolCall(name, raw=raw, error=f'"arguments" of {name} must be a JSON object')
    return ToolCall(name, arguments, raw=raw)
