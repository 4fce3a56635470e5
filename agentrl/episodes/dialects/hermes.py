"""Hermes and Qwen: `<tool_call>{"name": .., "arguments": {..}}</tool_call>`, any number of them."""

from __future__ import annotations

import json
from collections.abc import Sequence

from agentrl.core import ToolCall
from agentrl.episodes.dialects.plain_json import dump_call, load_call

OPEN, CLOSE = "<tool_call>", "</tool_call>"


class HermesDialect:
    """Text outside the tags is the policy thinking aloud and is left alone."""

    name = "hermes"

    def parse(self, text: str) -> list[ToolCall]:
        calls: list[ToolCall] = []
        at = text.find(OPEN)
        while at >= 0:
            start = at + len(OPEN)
            end = text.find(CLOSE, _end_of_json(text, start))
            if end < 0:
                raw = text[start:].strip()
                calls.append(ToolCall("", raw=raw, error=f"{OPEN} without {CLOSE}"))
                break
            calls.append(load_call(text[start:end].strip()))
            at = text.find(OPEN, end)
        return calls

    def format(self, calls: Sequence[ToolCall]) -> str:
        return "\n".join(f"{OPEN}\n{dump_call(call)}\n{CLOSE}" for call in calls)


def _end_of_json(text: str, start: int) -> int:
    """Where the JSON value from `start` on ends, or `start`: its strings may hold the tag."""
    while start < len(text) and text[start].isspace():
        start += 1
    try:
        return json.JSONDecoder().raw_decode(text, start)[1]
    except (ValueError, RecursionError):
        return start
