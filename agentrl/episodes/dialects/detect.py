"""Which dialect a model writes: the one that reads back what its chat template writes."""

from __future__ import annotations

from agentrl.core import Message, ModelError, ToolCall
from agentrl.episodes.dialects.base import dialect
from agentrl.models import ChatTokenizer

PROBE_CALLS = [
    ToolCall("lookup", {"path": "a b.py", "line": 3}, id="a00000001"),
    ToolCall("lookup", {"path": "é", "line": -1}, id="a00000002"),
]
# Those with marks of their own first: a bare JSON object stands inside several others.
_ORDER = ("qwen_xml", "glm", "deepseek", "mistral", "hermes", "pythonic", "llama", "json")


def detect_dialect(tokenizer: ChatTokenizer) -> str:
    """Name of the dialect of a chat template; "hermes" when the template writes no calls."""
    written = written_calls(tokenizer)
    if written is None:
        return "hermes"
    text, calls = written
    found = [name for name in _ORDER if reads(name, text, calls)]
    # `parameters` is Llama's word; both readers know it.
    return found[0] if found else "hermes"


def reads(name: str, text: str, calls: list[ToolCall]) -> bool:
    read = dialect(name).parse(text)
    return [(c.name, c.arguments, c.error) for c in read] == [
        (c.name, c.arguments, None) for c in calls
    ]


def written_calls(tokenizer: ChatTokenizer) -> tuple[str, list[ToolCall]] | None:
    """What the template makes of two calls, or of one where it refuses two; None if it drops
    them or refuses both."""
    asked = [Message("user", "q")]
    end = tokenizer.decode([tokenizer.end_of_turn])
    for calls in (PROBE_CALLS, PROBE_CALLS[:1]):
        said = Message("assistant", "", calls=calls)
        try:
            opened = tokenizer.render(asked, generation_prompt=True)
            text = tokenizer.render([*asked, said], generation_prompt=False)
        except ModelError:
            continue
        if calls[-1].name in text:
            return text.removeprefix(opened).strip().removesuffix(end).strip(), calls
    return None
