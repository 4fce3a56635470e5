"""JSON as models write it.

Read besides JSON, and nothing else: a code fence around the value, a comma behind the last item,
and Python literals (single quotes, True, False, None). What was cut off is never completed.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from typing import Any

from agentrl.core import ToolCall
from agentrl.episodes.dialects.base import malformed, unwritable

_FENCE = re.compile(r"\A```(?:json|python)?\s*(.*?)\s*```\Z", re.DOTALL)
_STRING_OR_COMMA = re.compile(r'"(?:[^"\\]|\\.)*"|,(?=\s*[}\]])', re.DOTALL)


def load(text: str) -> tuple[Any, str | None]:
    """The value of a text, and why there is none."""
    text = unfenced(text.strip())
    value, error = _json(text)
    if error is not None:
        value, error = _second_chance(text, error)
    if error is not None:
        return None, error
    why = unwritable(value)
    return (None, f"not a readable call: {why}") if why else (value, None)


def unfenced(text: str) -> str:
    found = _FENCE.match(text)
    return found.group(1).strip() if found else text


def literal(text: str) -> Any:
    """A Python literal. Raises ValueError saying why it is none."""
    try:
        with warnings.catch_warnings():
            # Of escapes such as "\\d": they are read as written.
            warnings.simplefilter("ignore")
            return ast.literal_eval(text)
    except SyntaxError as error:
        raise ValueError(error.msg) from error
    except (TypeError, MemoryError, RecursionError) as error:
        raise ValueError(str(error) or type(error).__name__) from error


def end_of_value(text: str, start: int) -> int:
    """Where the JSON value from `start` on ends, or `start`: its strings may hold anything."""
    while start < len(text) and text[start].isspace():
        start += 1
    try:
        return json.JSONDecoder().raw_decode(text, start)[1]
    except (ValueError, RecursionError):
        return start


def load_call(text: str) -> ToolCall:
    """One call from one object; `error` set when it is not one."""
    value, error = load(text)
    return malformed(text, error) if error else as_call(value, text)


def as_call(value: Any, raw: str) -> ToolCall:
    """A call from `{"name": .., "arguments": {..}}`; `parameters` is read as `arguments`, and
    arguments may be JSON in a string."""
    if not isinstance(value, dict):
        return malformed(raw, "a call is a JSON object with name and arguments")
    name = value.get("name")
    if not isinstance(name, str) or not name:
        return malformed(raw, 'a call needs a "name", a string')
    return with_arguments(name, value.get("arguments", value.get("parameters", {})), raw)


def with_arguments(name: str, arguments: Any, raw: str) -> ToolCall:
    if isinstance(arguments, str):
        arguments, error = load(arguments)
        if error:
            return malformed(raw, f'"arguments" of {name}: {error}', name)
    if not isinstance(arguments, dict) or not all(isinstance(key, str) for key in arguments):
        return malformed(raw, f'"arguments" of {name} must be a JSON object', name)
    return ToolCall(name, arguments, raw=raw)


def dump_call(call: ToolCall, arguments: str = "arguments") -> str:
    return dump({"name": call.name, arguments: call.arguments})


def dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _json(text: str) -> tuple[Any, str | None]:
    try:
        return json.loads(text), None
    except json.JSONDecodeError as error:
        return None, f"not valid JSON: {error.msg} at character {error.pos}"
    except ValueError as error:  # an integer of thousands of digits
        return None, f"not valid JSON: {error}"
    except RecursionError:
        return None, "not valid JSON: nested too deeply"


def _second_chance(text: str, error: str) -> tuple[Any, str | None]:
    if not text.startswith(("{", "[")):
        return None, error
    tidy = _STRING_OR_COMMA.sub(lambda m: m[0] if m[0][0] == '"' else "", text)
    value, still = _json(tidy) if tidy != text else (None, error)
    if still is None:
        return value, None
    try:
        return literal(text), None
    except ValueError:
        return None, error
