"""The dialect protocol and the list of those we know."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Protocol

from agentrl.core import ConfigError, ToolCall

_HOMES = {
    "hermes": "agentrl.episodes.dialects.hermes:HermesDialect",
    "json": "agentrl.episodes.dialects.plain_json:JsonDialect",
    "pythonic": "agentrl.episodes.dialects.pythonic:PythonicDialect",
}


class Dialect(Protocol):
    """Reads calls from what a policy wrote, and writes them the way it should have."""

    name: str

    def parse(self, text: str) -> list[ToolCall]:
        """The calls of one message, in order.

        Text that set out to be a call but cannot be read becomes a `ToolCall` with `error` set.
        Never raises, and never finds a call that was not written.
        """
        ...

    def format(self, calls: Sequence[ToolCall]) -> str:
        """The message that `parse` reads back as these calls."""
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
