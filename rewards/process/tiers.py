"""SSL: a few tiers of closeness beside the outcome (paper 21, arXiv 2601.22491)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

from agentrl.core import Check, ConfigError, Episode, Reward, Score

EDGES = (0.25, 0.5, 0.75)
TIERS = (0.0, 1 / 3, 2 / 3, 1.0)


@dataclass(slots=True)
class Tiered:
    """R = C + alpha * tier(S): C the outcome in {0, 1}, S in [0, 1] the mean closeness of steps.

    Closeness is the value of `proximity` (`click_proximity`, `grid_proximity`, or one of your own),
    and without one the mean of the turns' `rewards[closeness]` that the environment gave. S is put
    into tiers by `edges`; small jitter inside a tier changes nothing. alpha times the span of the
    tiers must be below 1, so that every success outranks every failure.

    Attributes:
        tiers: [] leaves S as it is, the continuous reward that tiers are compared with.
    """

    outcome: Reward
    proximity: Reward | None = None
    closeness: str = "closeness"
    alpha: float = 0.5
    edges: list[float] = field(default_factory=lambda: list(EDGES))
    tiers: list[float] = field(default_factory=lambda: list(TIERS))
    name: str = "tiered"

    def __post_init__(self) -> None:
        if self.tiers and len(self.tiers) != len(self.edges) + 1:
            raise ConfigError("tiers need ascending edges, one fewer than tiers")
        if sorted(self.edges) != self.edges:
            raise ConfigError("tiers need ascending edges, one fewer than tiers")
        values = self.tiers or [0.0, 1.0]
        if self.alpha * (max(values) - min(values)) >= 1:
            raise ConfigError(
                "a failure could outrank a success", where="alpha", fix="alpha * span below 1"
            )

    @property
    def parts(self) -> Sequence[Reward]:
        return [self.outcome] if self.proximity is None else [self.outcome, self.proximity]

    def combine(self, episode: Episode, scores: Sequence[Score]) -> Score:
        outcome = scores[0]
        silent = [part.name for part, s in zip(self.parts, scores, strict=True) if s.abstained]
        if silent:
            return Score(abstained=True, evidence=f"{silent[0]} abstained")
        closeness = scores[1].value if self.proximity else self._given(episode)
        reached = tier(closeness, self.edges, self.tiers) if self.tiers else closeness
        checks = [Check("closeness", closeness), Check("tier", reached)]
        return Score(outcome.value + self.alpha * reached, checks)

    def _given(self, episode: Episode) -> float:
        seen = [t.rewards[self.closeness] for t in episode.turns if self.closeness in t.rewards]
        return sum(seen) / len(seen) if seen else 0.0

    async def score(self, episode: Episode) -> Score:
        return self.combine(episode, [await part.score(episode) for part in self.parts])


def tier(value: float, edges: Sequence[float] = EDGES, tiers: Sequence[float] = TIERS) -> float:
    """The tier of a closeness; a value on an edge is in the upper one."""
    return tiers[bisect_right(edges, value)]
