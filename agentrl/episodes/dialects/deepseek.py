"""DeepSeek V3 and R1, and the shorter form of V3.1:

<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>name
```json
{..}
```<｜tool▁call▁end｜><｜tool▁calls▁end｜>

<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>name<｜tool▁sep｜>{..}<｜tool▁call▁end｜><｜tool▁calls▁end｜>
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from agentrl.core import ToolCall
from agentrl.episodes.dialects.base import Specs, malformed, marked_calls, spoken
from agentrl.episodes.dialects.lenient import dump, end_of_value, load, with_arguments

BEGIN, END = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
OPEN, SEP, CLOSE = "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>"
_NAME = re.compile(r"\s*([\w.-]+)\s*(?=```|\{|\Z)")
_FENCE = re.compile(r"\s*```(?:json)?\s*")


class DeepSeekDialect:
    """Text outside the marks is left alone; the outer pair of marks may be missing."""

    name = "deepseek"

    def parse(self, text: str, tools: Specs = ()) -> list[ToolCall]:
        return marked_calls(spoken(text), OPEN, CLOSE, _read, _end_of_arguments)

    def format(self, calls: Sequence[ToolCall], tools: Specs = ()) -> str:
        written = (
            f"{OPEN}function{SEP}{call.name}\n```json\n{dump(call.arguments)}\n```{CLOSE}"
            for call in calls
        )
        return BEGIN + "\n".join(written) + END


def _end_of_arguments(text: str, start: int) -> int:
    """Behind the arguments' JSON: its strings may hold the marks."""
    sep = text.find(SEP, start)
    if sep < 0:
        return start
    at = sep + len(SEP)
    named = _NAME.match(text, at)
    at = named.end() if named else at
    fence = _FENCE.match(text, at)
    return end_of_value(text, fence.end() if fence else at)


def _read(raw: str) -> ToolCall:
    kind, sep, body = raw.partition(SEP)
    name, value = kind.strip(), body
    if sep and name == "function":
        named = _NAME.match(body)
        name, value = (named[1], body[named.end() :]) if named else ("", body)
    if not sep or not name:
        return malformed(raw, f"a call is {OPEN}function{SEP}name, then its arguments in JSON")
    arguments, error = load(value)
    if error:
        return malformed(raw, error, name)
    return with_arguments(name, arguments, raw)
