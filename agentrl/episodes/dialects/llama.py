"""Llama 3: `{"name": .., "parameters": {..}}`, several with semicolons between them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from agentrl.core import ToolCall
from agentrl.episodes.dialects.base import Specs, spoken
from agentrl.episodes.dialects.lenient import dump_call, end_of_value, load_call, unfenced

_TAG = "<|python_tag|>"
_NEXT = re.compile(r"\s*;?\s*(?=\{|\Z)")


class LlamaDialect:
    """The message is calls from its first character (or from `<|python_tag|>`) to its end."""

    name = "llama"

    def parse(self, text: str, tools: Specs = ()) -> list[ToolCall]:
        text = spoken(text)
        tag = -1 if text.lstrip().startswith("{") else text.find(_TAG)
        rest = unfenced((text[tag + len(_TAG) :] if tag >= 0 else text).strip())
        calls: list[ToolCall] = []
        while rest.startswith("{"):
            end = end_of_value(rest, 0)
            following = _NEXT.match(rest, end) if end else None
            one = rest[:end] if following else rest
            calls.append(load_call(one))
            rest = rest[following.end() :] if following else ""
        return calls

    def format(self, calls: Sequence[ToolCall], tools: Specs = ()) -> str:
        return "; ".join(dump_call(call, "parameters") for call in calls)
