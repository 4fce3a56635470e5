"""Pythonic calls as Llama 3.2 and 4 write them: `[edit(line=3, old="<", new="<=")]`.

The shortest dialect in tokens, so it is also the one of our own small policies.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Sequence
from typing import Any

from agentrl.core import ToolCall
from agentrl.episodes.dialects.base import Specs, spoken, unwritable
from agentrl.episodes.dialects.lenient import unfenced

_START = re.compile(r"^\[\s*[A-Za-z_][\w.]*\s*\(", re.MULTILINE)
# Llama 4 puts its calls between these.
_MARKS = re.compile(r"\A\s*<\|python_(?:start|tag)\|>|<\|python_end\|>\s*\Z")


class PythonicDialect:
    """The call list starts a line and runs to the end of the message; arguments are literals
    given by name."""

    name = "pythonic"

    def parse(self, text: str, tools: Specs = ()) -> list[ToolCall]:
        text = unfenced(_MARKS.sub("", spoken(text)).strip())
        start = _START.search(text)
        if not start:
            return []
        raw = text[start.start() :].strip()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter(
                    "ignore"
                )  # of escapes such as "\\d": they are read as written
                tree = ast.parse(raw, mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            reason = error.msg if isinstance(error, SyntaxError) else str(error)
            return [ToolCall("", raw=raw, error=f"not a readable call list: {reason}")]
        if not isinstance(tree, ast.List):
            return [ToolCall("", raw=raw, error="a call list is [name(argument=value, ...)]")]
        return [_read(node, raw) for node in tree.elts]

    def format(self, calls: Sequence[ToolCall], tools: Specs = ()) -> str:
        return "[" + ", ".join(_write(call) for call in calls) + "]"


def _write(call: ToolCall) -> str:
    inner = ", ".join(f"{key}={_literal(value)}" for key, value in call.arguments.items())
    return f"{call.name}({inner})"


def _literal(value: object) -> str:
    """A Python literal; strings in double quotes where that needs no escaping."""
    if isinstance(value, str) and value.isprintable() and not set(value) & {'"', "\\"}:
        return f'"{value}"'
    return repr(value)


def _read(node: ast.expr, raw: str) -> ToolCall:
    if not isinstance(node, ast.Call):
        return ToolCall("", raw=raw, error="a call list holds calls only: name(argument=value)")
    name = _dotted(node.func)
    if name is None:
        return ToolCall("", raw=raw, error="a tool is called by its name")
    if node.args:
        return ToolCall(name, raw=raw, error=f"give the arguments of {name} by name")
    arguments: dict[str, Any] = {}
    for keyword in node.keywords:
        if keyword.arg is None:
            return ToolCall(name, raw=raw, error="** is not allowed in a call")
        if keyword.arg in arguments:
            return ToolCall(name, raw=raw, error=f"{keyword.arg} is given twice")
        try:
            arguments[keyword.arg] = ast.literal_eval(keyword.value)
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            return ToolCall(name, raw=raw, error=f"{keyword.arg} must be a plain value")
        why = unwritable(arguments[keyword.arg])
        if why:
            return ToolCall(name, raw=raw, error=f"{keyword.arg} must be a plain value: it {why}")
    return ToolCall(name, arguments, raw=raw)


def _dotted(node: ast.expr) -> str | None:
    """`a.b.c`, or None for any other expression."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else None
