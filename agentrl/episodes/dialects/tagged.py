"""Calls whose values stand between tags, without quotes: Qwen3-Coder and GLM-4.5.

A value is text where the tool's schema says string; otherwise JSON where it can be read as that,
and text where it cannot. Written without a schema, a text that would be taken for JSON is quoted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from agentrl.core import ToolCall
from agentrl.episodes.dialects.base import Specs, malformed, marked_calls, spoken, unwritable
from agentrl.episodes.dialects.hermes import CLOSE, OPEN
from agentrl.episodes.dialects.lenient import dump, load

_QWEN = re.compile(
    r"<function=([\w.-]+)>(.*?)</function>(?=\s*(?:</tool_call>|<function=|\Z))", re.S
)
_QWEN_VALUE = re.compile(
    r"<parameter=([^>\n]+)>(.*?)</parameter>(?=\s*(?:<parameter=[^>\n]+>|\Z))", re.S
)
_GLM_NAME = re.compile(r"\s*([\w.-]+)\s*(?=<arg_key>|\Z)")
_GLM_VALUE = re.compile(
    r"<arg_key>(.*?)</arg_key>\s*<arg_value>(.*?)</arg_value>(?=\s*(?:<arg_key>|\Z))", re.S
)


class QwenXmlDialect:
    """`<tool_call><function=name><parameter=key>value</parameter></function></tool_call>`; the
    outer pair may be missing. Other text is left alone."""

    name = "qwen_xml"

    def parse(self, text: str, tools: Specs = ()) -> list[ToolCall]:
        text = spoken(text)
        calls: list[ToolCall] = []
        at = text.find("<function=")
        while at >= 0:
            found = _QWEN.match(text, at)
            if not found:
                calls.append(malformed(text[at:], "<function=name> without </function>"))
                break
            calls.append(_read(found[1].strip(), found[2], _QWEN_VALUE, found[0], tools))
            at = text.find("<function=", found.end())
        if not calls and OPEN in text:
            return [malformed(text[text.find(OPEN) :], f"{OPEN} without <function=name>")]
        return calls

    def format(self, calls: Sequence[ToolCall], tools: Specs = ()) -> str:
        return "\n".join(
            f"{OPEN}\n<function={call.name}>\n"
            + "".join(
                f"<parameter={key}>\n{_text(value, call.name, key, tools)}\n</parameter>\n"
                for key, value in call.arguments.items()
            )
            + f"</function>\n{CLOSE}"
            for call in calls
        )


class GlmDialect:
    """`<tool_call>name <arg_key>key</arg_key> <arg_value>value</arg_value> .. </tool_call>`."""

    name = "glm"

    def parse(self, text: str, tools: Specs = ()) -> list[ToolCall]:
        def read(raw: str) -> ToolCall:
            named = _GLM_NAME.match(raw)
            if not named:
                return malformed(raw, "a call is a name, then <arg_key> and <arg_value>")
            return _read(named[1], raw[named.end() :], _GLM_VALUE, raw, tools)

        return marked_calls(spoken(text), OPEN, CLOSE, read)

    def format(self, calls: Sequence[ToolCall], tools: Specs = ()) -> str:
        return "\n".join(
            f"{OPEN}{call.name}\n"
            + "".join(
                f"<arg_key>{key}</arg_key>\n"
                f"<arg_value>{_text(value, call.name, key, tools)}</arg_value>\n"
                for key, value in call.arguments.items()
            )
            + CLOSE
            for call in calls
        )


def _read(name: str, body: str, pair: re.Pattern[str], raw: str, tools: Specs) -> ToolCall:
    arguments: dict[str, Any] = {}
    at = 0
    for found in pair.finditer(body):
        if body[at : found.start()].strip():
            break
        key = found[1].strip()
        if key in arguments:
            return malformed(raw, f"{key} is given twice", name)
        arguments[key] = _value(found[2], name, key, tools)
        why = unwritable(arguments[key])
        if why:
            return malformed(raw, f"{key} is not a readable value: it {why}", name)
        at = found.end()
    if body[at:].strip():
        return malformed(raw, f"cannot be read from {body[at:].strip()[:40]!r} on", name)
    return ToolCall(name, arguments, raw=raw)


def _value(text: str, tool: str, key: str, tools: Specs) -> Any:
    text = text.removeprefix("\n").removesuffix("\n")
    if _is_text(tool, key, tools):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        value, error = load(text) if text.strip()[:1] in ("{", "[") else (None, "text")
        return text if error else value


def _text(value: Any, tool: str, key: str, tools: Specs) -> str:
    if isinstance(value, str) and (_is_text(tool, key, tools) or _stays_text(value)):
        return value
    return dump(value).replace("</", "<\\/")


def _stays_text(value: str) -> bool:
    """Whether a value written without quotes is read back as it is."""
    tricky = "</" in value or "<arg" in value or value[:1] == "\n" or value[-1:] == "\n"
    return not tricky and _value(value, "", "", ()) == value


def _is_text(tool: str, key: str, tools: Specs) -> bool:
    for spec in tools:
        function = spec.get("function", spec)
        if function.get("name") == tool:
            field = (function.get("parameters") or {}).get("properties", {}).get(key, {})
            return bool(field.get("type") == "string")
    return False
