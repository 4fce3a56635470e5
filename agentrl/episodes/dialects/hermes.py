"""Hermes and Qwen: `<tool_call>{"name": .., "arguments": {..}}</tool_call>`, any number of them."""

from __future__ import annotations

from collections.abc import Sequence

from agentrl.core import ToolCall
from agentrl.episodes.dialects.base import Specs, marked_calls, spoken
from agentrl.episodes.dialects.lenient import dump_call, end_of_value, load_call

OPEN, CLOSE = "<tool_call>", "</tool_call>"


class HermesDialect:
    """Text outside the tags is the policy thinking aloud and is left alone."""

    name = "hermes"

    def parse(self, text: str, tools: Specs = ()) -> list[ToolCall]:
        return marked_calls(
            spoken(text), OPEN, CLOSE, lambda raw: load_call(raw.strip()), end_of_value
        )

    def format(self, calls: Sequence[ToolCall], tools: Specs = ()) -> str:
        return "\n".join(f"{OPEN}\n{dump_call(call)}\n{CLOSE}" for call in calls)
