"""What a reward says of an episode."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from agentrl.core.episode import Episode


@dataclass(slots=True)
class Check:
    """One thing a reward looked at: `value` in its own units, `passed` if it is a yes/no matter."""

    name: str
    value: float
    passed: bool | None = None
    evidence: str = ""


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
    """

    value: float = 0.0
    checks: list[Check] = field(default_factory=list)
    steps: list[float] = field(default_factory=list)
    evidence: str = ""
    abstained: bool = False


@runtime_checkable
class Reward(Protocol):
    """Judges one finished episode. Raises `InfraError` when the judge itself is down."""

    name: str

    async def score(self, episode: Episode) -> Score: ...
