"""What a reward says of an episode."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    from agentrl.core.episode import Episode


CheckKind = Literal["plain", "essential", "positive", "pitfall"]


@dataclass(slots=True)
class Check:
    """One thing a reward looked at.

    Attributes:
        value: in its own units; `passed` if it is a yes/no matter.
        kind: "essential" gates the whole, "positive" adds up to its weight, "pitfall" only ever
            takes away, "plain" is information.
        weight: what it counts beside the others; 1 where nobody weighs.
        turn: the turn it speaks of, -1 for the whole episode.
    """

    name: str
    value: float
    passed: bool | None = None
    evidence: str = ""
    kind: CheckKind = "plain"
    weight: float = 1.0
    turn: int = -1


@dataclass(slots=True)
class Span:
    """The reward of a part of one turn: characters [start, stop) of `Turn.text`."""

    turn: int
    start: int
    stop: int
    value: float


@dataclass(slots=True)
class Score:
    """A verdict with its reasons.

    Attributes:
        value: the reward, any real number.
        checks: what was looked at, for the store and the viewer to explain the value.
        steps: one reward per turn of the episode (empty: nothing is said about turns).
            Their sum need not be `value`.
        evidence: why, in words.
        abstained: the reward could not judge (unparseable judge, no reference). An abstained
            score is left out of every statistic; it is not zero.
        spans: rewards of parts of turns (sentences, steps of a derivation), where a critic looks
            closer than at turns; `steps` then holds their means.
        cost: US dollars that judges asked for it.
    """

    value: float = 0.0
    checks: list[Check] = field(default_factory=list)
    steps: list[float] = field(default_factory=list)
    evidence: str = ""
    abstained: bool = False
    cost: float = 0.0
    spans: list[Span] = field(default_factory=list)


@runtime_checkable
class Reward(Protocol):
    """Judges one finished episode. Raises `InfraError` when the judge itself is down."""

    name: str

    async def score(self, episode: Episode) -> Score: ...
