"""The chat formats of one policy."""

from __future__ import annotations

from typing import Any

from agentrl.episodes.chatformat import ChatFormat
from agentrl.episodes.dialects import Dialect, instructions
from agentrl.models import ChatTokenizer


class ChatFormats:
    """One format a set of tools; built once, as probing a template costs renders."""

    def __init__(self, tokenizer: ChatTokenizer, speaks: Dialect) -> None:
        self._tokenizer, self._speaks = tokenizer, speaks
        self._made: dict[str, ChatFormat] = {}

    def of(self, tools: list[dict[str, Any]]) -> ChatFormat:
        key = repr(tools)
        if key not in self._made:
            told = instructions(self._speaks, tools)
            self._made[key] = ChatFormat(self._tokenizer, tools, told)
        return self._made[key]
