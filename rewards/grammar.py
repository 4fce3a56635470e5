"""A grammar of tags: which may stand, in which order, and what may follow what."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(slots=True, frozen=True)
class TagGrammar:
    """Rules for a text made of blocks such as `<search>..</search>`; other tags are plain text.

    Attributes:
        tags: that may stand; blocks do not nest, and every one is closed.
        once: tags of exactly one block.
        last: the tag of the last block, behind which nothing stands; "" for no such rule.
        after: tag -> the tag whose block directly precedes each of its blocks.
        before: tag -> the tag whose block directly follows each of its blocks.
    """

    tags: tuple[str, ...]
    once: tuple[str, ...] = ()
    last: str = ""
    after: Mapping[str, str] = field(default_factory=dict)
    before: Mapping[str, str] = field(default_factory=dict)

    def problems(self, text: str) -> list[str]:
        """What is wrong, in words; empty when the text is well-formed."""
        blocks, wrong = self._blocks(text)
        names = [name for name, _ in blocks]
        wrong += [f"{names.count(t)} <{t}> blocks" for t in self.once if names.count(t) != 1]
        if self.last and (not blocks or names[-1] != self.last or text[blocks[-1][1] :].strip()):
            wrong.append(f"does not end with <{self.last}>")
        for i, name in enumerate(names):
            previous = names[i - 1] if i else None
            following = names[i + 1] if i + 1 < len(names) else None
            if name in self.after and previous != self.after[name]:
                wrong.append(f"<{name}> does not follow <{self.after[name]}>")
            if name in self.before and following != self.before[name]:
                wrong.append(f"<{name}> is not followed by <{self.before[name]}>")
        return wrong

    def _blocks(self, text: str) -> tuple[list[tuple[str, int]], list[str]]:
        """(tag, end) of every closed block in order, and what is wrong with the nesting."""
        blocks: list[tuple[str, int]] = []
        wrong: list[str] = []
        inside = ""
        for match in re.finditer(rf"<(/?)({'|'.join(map(re.escape, self.tags))})>", text):
            closes, name = bool(match[1]), match[2]
            if not closes:
                if inside:
                    wrong.append(f"<{name}> inside <{inside}>")
                inside = name
            elif inside == name:
                blocks.append((name, match.end()))
                inside = ""
            else:
                wrong.append(f"</{name}> closes nothing")
        if inside:
            wrong.append(f"<{inside}> is not closed")
        return blocks, wrong


# Veri-R1 (paper 71): an information block that no search asked for was made up by the model.
SEARCH_TAGS = TagGrammar(
    tags=("plan", "search", "information", "think", "answer"),
    once=("answer",),
    last="answer",
    after={"information": "search"},
    before={"information": "think"},
)
