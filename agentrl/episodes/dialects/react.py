"""ReAct text (Yao et al., arXiv:2210.03629):

Thought: I should look.
Action: look
Action Input: {"line": 3}
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from agentrl.core import ToolCall
from agentrl.episodes.dialects.base import Specs, malformed, spoken
from agentrl.episodes.dialects.lenient import dump, end_of_value, load, with_arguments

_ACTION = re.compile(r"^[ \t]*Action:[ \t]*(.*?)[ \t]*$", re.MULTILINE)
_INPUT = re.compile(r"\s*^[ \t]*Action Input:[ \t]*", re.MULTILINE)
_NAME = re.compile(r"[\w.-]+")
_END = re.compile(r"^[ \t]*(?:Thought|Action|Final Answer):", re.MULTILINE)
_OBSERVATION = re.compile(r"^[ \t]*Observation:", re.MULTILINE)


class ReactDialect:
    """What stands behind an `Observation:` of the policy's own is made up, and is left alone.

    The tool's name may stand in backticks, quotes or brackets; no input is no arguments; text
    behind the input's JSON is left alone.
    """

    name = "react"

    def parse(self, text: str, tools: Specs = ()) -> list[ToolCall]:
        text = spoken(text)
        made_up = _OBSERVATION.search(text)
        text = text[: made_up.start()] if made_up else text
        calls: list[ToolCall] = []
        for action in _ACTION.finditer(text):
            given = _INPUT.match(text, action.end())
            ends = _END.search(text, given.end() if given else action.end())
            end = ends.start() if ends else len(text)
            raw = text[action.start() : end].strip()
            name = action[1].strip("`'\"[]")
            if not _NAME.fullmatch(name):
                calls.append(malformed(raw, "Action: without the name of a tool"))
                continue
            arguments, error = _load(text, given.end(), end) if given else ({}, None)
            if error:
                calls.append(malformed(raw, f"Action Input of {name}: {error}", name))
            else:
                calls.append(with_arguments(name, arguments, raw))
        return calls

    def format(self, calls: Sequence[ToolCall], tools: Specs = ()) -> str:
        return "\n".join(
            f"Action: {call.name}\nAction Input: {dump(call.arguments)}" for call in calls
        )


def _load(text: str, start: int, end: int) -> tuple[Any, str | None]:
    """The input's JSON; one string of it may look like the next line of the form."""
    whole = end_of_value(text, start)
    return load(text[start : whole if whole > start else end])
