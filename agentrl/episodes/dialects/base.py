"""The dialect protocol, the list of those we know, and what they share."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, Protocol

from agentrl.core import ConfigError, ToolCall

_HOMES = {
    "deepseek": "agentrl.episodes.dialects.deepseek:DeepSeekDialect",
    "glm": "agentrl.episodes.dialects.tagged:GlmDialect",
    "hermes": "agentrl.episodes.dialects.hermes:HermesDialect",
    "json": "agentrl.episodes.dialects.plain_json:JsonDialect",
    "llama": "agentrl.episodes.dialects.llama:LlamaDialect",
    "mistral": "agentrl.episodes.dialects.mistral:MistralDialect",
    "pythonic": "agentrl.episodes.dialects.pythonic:PythonicDialect",
    "qwen_xml": "agentrl.episodes.dialects.tagged:QwenXmlDialect",
    "react": "agentrl.episodes.dialects.react:ReactDialect",
}
# A thought in front of a message: opened by the policy, or by the generation prompt.
_THOUGHT = re.compile(r"\A(?:\s*<think>.*?</think>|.*?(?:\A|\n)</think>(?=\n|\Z))", re.DOTALL)

Specs = Sequence[dict[str, Any]]


class Dialect(Protocol):
    """Reads calls from what a policy wrote, and writes them the way it should have."""

    name: str

    def parse(self, text: str, tools: Specs = ()) -> list[ToolCall]:
        """The calls of one message, in order.

        Text that set out to be a call but cannot be read becomes a `ToolCall` with `error` set.
        Never raises, and never finds a call that was not written; what stands in a closed thought
        in front of the message was thought, not written.

        Args:
            tools: specifications in OpenAI form; dialects that write values without quotes read
                them by their types.
        """
        ...

    def format(self, calls: Sequence[ToolCall], tools: Specs = ()) -> str:
        """The message that `parse` with the same `tools` reads back as these calls."""
        ...


def dialects() -> list[str]:
    return sorted(_HOMES)


def dialect(name: str) -> Dialect:
    """The dialect of that name. Raises ConfigError naming the nearest one."""
    if name not in _HOMES:
        near = difflib.get_close_matches(name, _HOMES, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"one of: {', '.join(dialects())}"
        raise ConfigError(f"unknown tool-call dialect {name!r}", where="model.dialect", fix=hint)
    module, _, attribute = _HOMES[name].partition(":")
    made: Dialect = getattr(import_module(module), attribute)()
    return made


def instructions(dialect: Dialect, tools: Specs) -> str:
    """What to tell a policy whose chat template does not show it its tools; "" for no tools."""
    if not tools:
        return ""
    example = ToolCall("tool_name", {"argument": "value"})
    listed = "\n".join(json.dumps(t.get("function", t), ensure_ascii=False) for t in tools)
    return (
        f"You can call tools. To call one, write:\n{dialect.format([example])}\n"
        f"The tools, one JSON specification a line:\n{listed}"
    )


def spoken(text: str) -> str:
    """A message without the closed thought in front of it."""
    found = _THOUGHT.match(text) if "</think>" in text else None
    return text[found.end() :] if found else text


def marked_calls(
    text: str,
    opening: str,
    closing: str,
    read: Callable[[str], ToolCall],
    behind: Callable[[str, int], int] = lambda text, start: start,
) -> list[ToolCall]:
    """The calls of a message that stand between two marks; the last may lack its closing one.

    Args:
        behind: from where on `closing` is a mark: behind values whose strings may hold it.
    """
    calls: list[ToolCall] = []
    at = text.find(opening)
    while at >= 0:
        start = at + len(opening)
        end = text.find(closing, behind(text, start))
        if end < 0:
            calls.append(malformed(text[start:].strip(), f"{opening} without {closing}"))
            break
        calls.append(read(text[start:end]))
        at = text.find(opening, end)
    return calls


def malformed(raw: str, why: str, name: str = "") -> ToolCall:
    """A call that cannot be read: it is answered with why, never executed."""
    return ToolCall(name, raw=raw, error=why)


def unwritable(value: Any) -> str | None:
    """Why a parsed value cannot be shown, stored and sent (JSON in UTF-8); None when it can."""
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:
        return "holds half of a surrogate pair, which is no character"
    except (ValueError, TypeError) as error:
        return f"has no form in JSON: {error}"
    except RecursionError:
        return "nested too deeply"
    return None
