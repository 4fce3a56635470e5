"""What a chat template can say, found out by asking it, and how the rest is said instead.

Templates refuse or silently drop what their model was not trained on: Gemma has no system and no
tool messages and wants user and model to alternate; Mistral wants ids of nine characters; many show
no tools. Messages are put into a form that the template shows in full, before it renders them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from agentrl.core import Message, ModelError
from agentrl.models import ChatTokenizer

PROBE = "agentrlprobe"
"""The text of the assistant's message in every trial render."""
CUT = "\U0010ffff"
"""Stands where two messages were made one: text before and after is tokenised apart, so that a
hint that is taken out again leaves its neighbours' tokens as they are."""

_ID = "a00000000"
_SHORT_ID = re.compile(r"[A-Za-z0-9]{9}")
_USER, _SAID = Message("user", "q"), Message("assistant", PROBE)
_TOOL_SPEC: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": PROBE,
        "description": "A trial.",
        "parameters": {"type": "object", "properties": {"x": {"type": "string"}}},
    },
}


@dataclass(slots=True, frozen=True)
class Traits:
    """What a template does with messages.

    Attributes:
        system: shows system messages.
        tool_role: shows tool messages.
        repeats: takes two user messages in a row.
        any_id: takes any id of a tool call.
        shows_tools: tells the policy which tools there are.
    """

    system: bool
    tool_role: bool
    repeats: bool
    any_id: bool
    shows_tools: bool

    @classmethod
    def of(cls, tokenizer: ChatTokenizer) -> Traits:
        def shows(*messages: Message, tools: Sequence[dict[str, Any]] = ()) -> bool:
            try:
                text = tokenizer.render(messages, tools, generation_prompt=True)
            except ModelError:
                return False
            return messages[-1].content in text and (not tools or PROBE in text)

        def result(call_id: str) -> Message:
            return Message("tool", "r" + PROBE, call_id=call_id, name="f")

        return cls(
            system=shows(_USER) and _shows_system(tokenizer),
            tool_role=shows(_USER, _SAID, result(_ID)),
            repeats=shows(_USER, _SAID, _USER, Message("user", "again" + PROBE)),
            any_id=shows(_USER, _SAID, result("call_0_0")),
            shows_tools=shows(_USER, tools=[_TOOL_SPEC]),
        )

    def adapt(self, messages: Sequence[Message], instructions: str) -> list[Message]:
        """The messages in a form that the template shows.

        Args:
            instructions: what to tell the policy of its tools when the template does not.
        """
        out = list(messages)
        if instructions and not self.shows_tools:
            out = _with_instructions(out, instructions)
        if not self.system:
            out = _fold_system(out)
        if not self.tool_role:
            out = _fold_tools(out)
        elif not self.any_id:
            out = [_short_id(m) if m.role == "tool" else m for m in out]
        return out if self.repeats else _fold_repeats(out)


def _shows_system(tokenizer: ChatTokenizer) -> bool:
    system = Message("system", "s" + PROBE)
    try:
        return system.content in tokenizer.render([system, _USER], generation_prompt=True)
    except ModelError:
        return False


def _with_instructions(messages: list[Message], instructions: str) -> list[Message]:
    if messages and messages[0].role == "system":
        first = messages[0]
        return [replace(first, content=f"{first.content}\n\n{instructions}"), *messages[1:]]
    return [Message("system", instructions), *messages]


def _fold_system(messages: list[Message]) -> list[Message]:
    """System messages become user messages; the first goes in front of what the user says."""
    out = [replace(m, role="user") if m.role == "system" else m for m in messages]
    if len(out) > 1 and messages[0].role == "system" and out[1].role == "user":
        return [_joined(out[0], out[1], "\n\n"), *out[2:]]
    return out


def _fold_tools(messages: list[Message]) -> list[Message]:
    """Neighbouring results become one user message."""
    out: list[Message] = []
    after_tool = False
    for message in messages:
        if message.role != "tool":
            out.append(message)
        else:
            text = f"<tool_response>\n{message.content}\n</tool_response>"
            shown = replace(message, role="user", content=text, call_id="", name="")
            out = [*out[:-1], _joined(out[-1], shown, "\n")] if after_tool else [*out, shown]
        after_tool = message.role == "tool"
    return out


def _fold_repeats(messages: list[Message]) -> list[Message]:
    """One user message between two turns, behind the results of the first one's calls."""
    out: list[Message] = []
    for message in messages:
        after_user = bool(out) and out[-1].role == "user"
        if message.role == "tool" and after_user and len(out) > 1:
            out.insert(len(out) - 1, message)
        elif message.role == "user" and after_user:
            out[-1] = _joined(out[-1], message, "\n\n")
        else:
            out.append(message)
    return out


def _joined(first: Message, second: Message, between: str) -> Message:
    images = [*first.images, *second.images]
    return replace(first, content=f"{first.content}{CUT}{between}{second.content}", images=images)


def _short_id(message: Message) -> Message:
    if _SHORT_ID.fullmatch(message.call_id):
        return message
    return replace(message, call_id=short_id(message.call_id))


def short_id(call_id: str) -> str:
    """Nine letters and digits that stand for any id."""
    return hashlib.blake2b(call_id.encode("utf-8", "replace"), digest_size=5).hexdigest()[:9]
