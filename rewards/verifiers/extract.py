"""Where an answer is in what the policy said."""

from __future__ import annotations

import re
from collections.abc import Callable

from agentrl.core import ConfigError, Episode


def extract(episode: Episode, how: str) -> str | None:
    """The answer of an episode, None when there is none.

    `outcome` takes `episode.outcome["answer"]`, which an environment with an answer tool sets. All
    others look at the last message of the policy (see `answer_in`).
    """
    if how == "outcome":
        found = episode.outcome.get("answer")
        return None if found is None else str(found)
    return answer_in(episode.turns[-1].text, how) if episode.turns else None


def answer_in(text: str, how: str) -> str | None:
    r"""The answer in a text, None when there is none.

    Ways: `last` (the whole message), `line` (its last line that is not empty), `boxed` (content of
    the last \boxed{}), `tag:NAME` (inside <NAME>...</NAME>; several are no answer, so that
    listing guesses never pays).
    """
    if how.startswith("tag:"):
        return _tagged(text, how.removeprefix("tag:"))
    if how not in _WAYS:
        raise ConfigError(f"no way {how!r} to find an answer", fix=f"one of: {', '.join(WAYS)}")
    return _WAYS[how](text)


def boxed(text: str) -> str | None:
    r"""Content of the last complete \boxed{...}, braces balanced."""
    start = text.rfind(r"\boxed{")
    while start >= 0:
        content = _balanced(text, start + len(r"\boxed{"))
        if content is not None:
            return content.strip()
        start = text.rfind(r"\boxed{", 0, start)
    return None


def _balanced(text: str, start: int) -> str | None:
    depth = 1
    for i in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[i], 0)
        if depth == 0:
            return text[start:i]
    return None


def _tagged(text: str, tag: str) -> str | None:
    name = re.escape(tag)
    found = re.findall(rf"<{name}>(.*?)</{name}>", text, re.DOTALL)
    return found[0].strip() if len(found) == 1 else None


def _last_line(text: str) -> str | None:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), None)


_WAYS: dict[str, Callable[[str], str | None]] = {
    "last": lambda text: text.strip() or None,
    "line": _last_line,
    "boxed": boxed,
}
WAYS = ("outcome", *_WAYS, "tag:NAME")
