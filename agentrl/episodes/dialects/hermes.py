"""Hermes and Qwen: `<tool_call>{"name": .., "arguments": {..}}</tool_call>`, any number of them."""

from __future__ import annotations

from collections.abc import Sequence

from agentrl.core import ToolCall
from agentrl.episodes.dialects.base import Specs, malformed, spoken
from agentrl.episodes.dialects.lenient import dump_call, end_of_value, load_call

OPEN, CLOSE = "<tool_call>", "</tool_call>"


class HermesDialect:
    """Text outside the tags is the policy thinking aloud and is left alone."""

    name = "hermes"

    def parse(self, text: str, tools: Specs = ()) -> list[ToolCall]:
        text = spoken(text)
        calls: list[ToolCall] = []
        at = text.find(OPEN)
        while at >= 0:
            start = at + len(OPEN)
            end = text.find(CLOSE, end_of_value(text, start))
            if end < 0:
                calls.append(malformed(text[start:].strip(), f"{OPEN} without {CLOSE}"))
                break
            calls.append(load_call(text[start:end].strip()))
            at = text.find(OPEN, end)
        return calls

    def format(self, calls: Sequence[ToolCall], tools: Specs = ()) -> str:
        return "\n".join(f"{OPEN}\n{dump_call(call)}\n{CLOSE}" for call in calls)
