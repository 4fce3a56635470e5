"""Hints, who gives them, and the ladder they stand on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from agentrl.core import Episode, Task
from agentrl.guidance.settings import Ladder

CLIPPED = "\n[...]\n"


@dataclass(slots=True, frozen=True)
class Ask:
    """What a provider is asked about.

    Attributes:
        episodes: attempts at the task in this step, judged.
        attempt: the failed one that the hint is for; None when it is for the whole group.
        seed: of what the provider draws.
    """

    task: Task
    seed: int
    episodes: Sequence[Episode] = ()
    attempt: Episode | None = None


@runtime_checkable
class Provider(Protocol):
    """Gives hints of growing detail; a class of your own takes the place of any kind of tier.

    Attributes:
        levels: how many.
    """

    @property
    def levels(self) -> int: ...

    async def hint(self, ask: Ask, level: int) -> str | None:
        """The hint of a level (from 1); None when it has none for this task.

        Raises `InfraError` when who should write it cannot be reached: no hint then, and no harm.
        """
        ...


@dataclass(slots=True, frozen=True)
class Hint:
    """A text of the ladder.

    Attributes:
        level: on the whole ladder, from 1; tier: the name of its tier.
    """

    text: str
    level: int
    tier: str


@dataclass(slots=True)
class Rungs:
    """The whole ladder: the tiers' levels, end to end."""

    settings: Ladder
    providers: Sequence[Provider]
    missed: int = field(default=0, init=False)
    """How often a provider had no hint."""

    @property
    def top(self) -> int:
        """The number of levels."""
        return sum(p.levels for p in self.providers)

    def tier_of(self, level: int) -> tuple[int, int]:
        """(tier, level in it) of a level of the ladder, both from 0 and 1."""
        for i, provider in enumerate(self.providers):
            if level <= provider.levels:
                return i, level
            level -= provider.levels
        raise IndexError(f"the ladder has no level {level} more")

    async def hint(self, ask: Ask, level: int) -> Hint | None:
        """What a level shows; None when nobody has anything to say there."""
        tier, inner = self.tier_of(level)
        name = self.settings.tiers[tier].label
        shown = [(tier, inner)]
        if self.settings.show != "one":
            shown = [(tier, n) for n in range(1, inner + 1)]
        if self.settings.show == "all":
            below = [(t, n) for t in range(tier) for n in range(1, self.providers[t].levels + 1)]
            shown = below + shown
        texts = []
        for t, n in shown:
            text = await self.providers[t].hint(ask, n)
            if text and text.strip():
                texts.append(clip(text, self.settings.tiers[t].characters))
        if not texts:
            self.missed += 1
            return None
        return Hint("\n".join(dict.fromkeys(texts)), level, name)


def clip(text: str, limit: int) -> str:
    """At most `limit` characters, the middle left out with a mark."""
    if len(text) <= limit:
        return text
    room = max(limit - len(CLIPPED), 0)
    head = room - room // 2
    return (text[:head] + CLIPPED + text[len(text) - room // 2 :])[:limit]
