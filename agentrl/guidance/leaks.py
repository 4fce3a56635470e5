"""Does a guided episode quote its hint? Then it learns words that it will have no reason for."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from agentrl.core import Episode

_WORD = re.compile(r"\w+")
_SPOKEN = re.compile(
    r"\b(?:the|your|this|that) (?:hint|guidance)\b|\bhinted\b|\bas (?:the )?hint", re.IGNORECASE
)


def quoted(episode: Episode, words: int) -> str:
    """The first run of `words` words that the policy's messages share with the hint, and with
    nothing else that the policy was shown; "" for none."""
    hint = _words(str(episode.guidance.get("hint", "")))
    if len(hint) < words:
        return ""
    known = {run for text in _shown(episode) for run in _runs(_words(text), words)}
    told = set(_runs(hint, words)) - known
    for turn in episode.turns:
        for run in _runs(_words(turn.text), words):
            if run in told:
                return " ".join(run)
    return ""


def mentions_hint(episode: Episode) -> bool:
    """The policy speaks of a hint that nothing but guidance can have given it; in an episode
    without any, it has learned to."""
    if any(re.search(r"\b(?:hint|guidance)", text, re.IGNORECASE) for text in _shown(episode)):
        return False
    return any(_SPOKEN.search(turn.text) for turn in episode.turns)


def flag_leaks(episodes: Sequence[Episode], words: int) -> Mapping[str, str]:
    """What each leaking episode quotes, by id; also kept in its `guidance["leak"]`."""
    found = {}
    for episode in episodes:
        said = quoted(episode, words) or ("speaks of the hint" if mentions_hint(episode) else "")
        if said:
            episode.guidance["leak"] = found[episode.id] = said
    return found


def _shown(episode: Episode) -> list[str]:
    """What the policy was shown beside its hints."""
    shown = [m.content for m in episode.prompt if not m.hint]
    return shown + [m.content for t in episode.turns for m in t.observations if not m.hint]


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _runs(words: Sequence[str], length: int) -> list[tuple[str, ...]]:
    return [tuple(words[i : i + length]) for i in range(len(words) - length + 1)]
