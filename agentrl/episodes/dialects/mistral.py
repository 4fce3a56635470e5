"""Mistral: `[TOOL_CALLS] [{"name": .., "arguments": {..}, "id": ..}]`; since its tokenizer of
version 11 also `[TOOL_CALLS]name[ARGS]{..}`, once a call."""

from __future__ import annotations

import re
from collections.abc import Sequence

from agentrl.core import ToolCall
from agentrl.episodes.dialects.base import Specs, malformed, spoken
from agentrl.episodes.dialects.lenient import as_call, dump, end_of_value, load, with_arguments

OPEN, ARGS = "[TOOL_CALLS]", "[ARGS]"
_NAMED = re.compile(r"\s*([\w.-]+)\s*(?:\[CALL_ID\]\s*(\w*)\s*)?(?:\[ARGS\]|(?=\{))")
_ID = re.compile(r"[A-Za-z0-9]{9}")


class MistralDialect:
    """Text in front of the first `[TOOL_CALLS]` is left alone; behind it stands nothing else."""

    name = "mistral"

    def parse(self, text: str, tools: Specs = ()) -> list[ToolCall]:
        text = spoken(text)
        calls: list[ToolCall] = []
        at = text.find(OPEN)
        while at >= 0:
            start = at + len(OPEN)
            named = _NAMED.match(text, start)
            end = end_of_value(text, named.end() if named else start)
            at = text.find(OPEN, end)
            raw = text[start : at if at >= 0 else len(text)].strip()
            if named:
                arguments, error = load(text[named.end() : at if at >= 0 else len(text)])
                call = malformed(raw, error) if error else _one(named[1], arguments, raw)
                call.id = named[2] if named[2] and _ID.fullmatch(named[2]) else ""
                calls.append(call)
            else:
                calls += _listed(raw)
        return calls

    def format(self, calls: Sequence[ToolCall], tools: Specs = ()) -> str:
        written = []
        for call in calls:
            number = {"id": call.id} if _ID.fullmatch(call.id) else {}
            written.append(dump({"name": call.name, "arguments": call.arguments, **number}))
        return f"{OPEN} [{', '.join(written)}]"


def _one(name: str, arguments: object, raw: str) -> ToolCall:
    return with_arguments(name, arguments, raw)


def _listed(raw: str) -> list[ToolCall]:
    value, error = load(raw)
    if error:
        return [malformed(raw, error)]
    calls = []
    for item in value if isinstance(value, list) else [value]:
        call = as_call(item, raw)
        found = item.get("id") if isinstance(item, dict) else None
        call.id = found if isinstance(found, str) and _ID.fullmatch(found) else ""
        calls.append(call)
    return calls
