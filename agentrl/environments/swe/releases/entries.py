"""Which entry of a release's notes speaks of which of its fixes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

_BULLET = re.compile(r"^(\s*)(?:[-*+•]|\d+[.)])\s+\S")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]{2,}")
_COMMON = {
    "the", "and", "for", "with", "that", "this", "from", "not", "now", "when", "was", "are",
    "has", "have", "will", "can", "also", "all", "any", "its", "test", "tests", "self", "def",
    "return", "none", "true", "false", "import", "class", "use", "used", "using", "fix", "fixed",
    "fixes", "bug", "add", "added", "adds", "new", "support", "issue", "assert", "raise", "error",
    "value", "values",
}  # fmt: skip


def entries(notes: str) -> list[str]:
    """The items of the outermost list; paragraphs where there is no list."""
    lines = notes.splitlines()
    indents = [len(m[1]) for line in lines if (m := _BULLET.match(line))]
    if not indents:
        return [p.strip() for p in re.split(r"\n\s*\n", notes) if re.search(r"\w", p)]
    outermost = min(indents)
    found: list[list[str]] = []
    inside = False
    for line in lines:
        bullet = _BULLET.match(line)
        if bullet and len(bullet[1]) == outermost:
            found.append([line])
            inside = True
        elif not line.strip():
            continue
        elif inside and len(line) - len(line.lstrip()) > outermost:
            found[-1].append(line)
        else:
            # A heading between two lists.
            inside = False
    return ["\n".join(item) for item in found]


def words(text: str) -> frozenset[str]:
    """What names things in a text: identifiers and their parts, in small letters."""
    found: set[str] = set()
    for word in _WORD.findall(text):
        parts = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+", word)
        found |= {word.lower(), *(part.lower() for part in parts if len(part) > 2)}
    return frozenset(found - _COMMON)


def assigned(notes: str, parts: Sequence[frozenset[str]]) -> list[list[str]]:
    """The entries that speak of each part.

    An entry goes to the part with which it shares the most words, each counted by how few parts
    have it; to none where two parts are alike in that.

    Args:
        parts: the words of each.
    """
    known = Counter(word for part in parts for word in part)
    found: list[list[str]] = [[] for _ in parts]
    for entry in entries(notes):
        said = words(entry)
        scores = [
            sum(1 / known[word] for word in said & part if known[word] < len(parts))
            for part in parts
        ]
        best = max(scores, default=0.0)
        if best > 0 and scores.count(best) == 1:
            found[scores.index(best)].append(entry)
    return found
