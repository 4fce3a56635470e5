"""Plain JSON: the message is a call object or a list of them, or ends in a code fence of that."""

from __future__ import annotations

import re
from collections.abc import Sequence

from agentrl.core import ToolCall
from agentrl.episodes.dialects.base import Specs, malformed, spoken
from agentrl.episodes.dialects.lenient import as_call, dump_call, load, load_call, unfenced

_LIST = re.compile(r"\[\s*\{")
_LAST_FENCE = re.compile(r"(?:\A|\n)```json[ \t]*\n((?:(?!```).)*)\n[ \t]*```\s*\Z", re.DOTALL)


class JsonDialect:
    """`{"name": .., "arguments": {..}}`; `parameters` (Llama 3) is read as `arguments`.

    JSON in the middle of text is no call; a `json` fence at the end of it is.
    """

    name = "json"

    def parse(self, text: str, tools: Specs = ()) -> list[ToolCall]:
        text = unfenced(spoken(text).strip())
        fenced = None if text[:1] in ("{", "[") else _LAST_FENCE.search(text)
        if fenced:
            text = fenced.group(1).strip()
        if text.startswith("{"):
            return [load_call(text)]
        if not _LIST.match(text):
            return []
        value, error = load(text)
        if error:
            return [malformed(text, error)]
        return [as_call(item, text) for item in value]

    def format(self, calls: Sequence[ToolCall], tools: Specs = ()) -> str:
        written = [dump_call(call) for call in calls]
        return written[0] if len(written) == 1 else "[" + ", ".join(written) + "]"
