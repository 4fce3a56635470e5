"""SSL: a few tiers of closeness beside the outcome (paper 21, arXiv 2601.22491)."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

from agentrl.core import Check, ConfigError, Episode, Reward, Score

EDGES = (0.25, 0.5, 0.75)
TIERS = (0.0, 1 / 3, 2 / 3, 1.0)


@dataclass(slots=True)
class Tiered:
    """R = C + alpha * tier(S): C the outcome in {0, 1}, S in [0, 1] the mean closeness of steps.

    Closeness is a turn's `rewards[closeness]`, given by the environment, or the value of a reward.
    S is put into tiers by `edges`; small jitter inside a tier changes nothing. alpha times the span
    of the tiers must be below 1, so that every success outranks every failure.
    """

    outcome: Reward
    closeness: str = "closeness"
    alpha: float = 0.5
    edges: list[float] = field(default_factory=lambda: list(EDGES))
    tiers: list[float] = field(default_factory=lambda: list(TIERS))
    name: str = "tiered"

    def __post_init__(self) -> None:
        if len(self.tiers) != len(self.edges) + 1 or sorted(self.edges) != self.edges:
            raise ConfigError("tiers need ascending edges, one fewer than tiers")
        if self.alpha * (max(self.tiers) - min(self.tiers)) >= 1:
            raise ConfigError(
                "a failure could outrank a success", where="alpha", fix="alpha * span below 1"
            )

    @property
    def parts(self) -> Sequence[Reward]:
        return [self.outcome]

    def combine(self, episode: Episode, scores: Sequence[Score]) -> Score:
        (outcome,) = scores
        seen = [t.rewards[self.closeness] for t in episode.turns if self.closeness in t.rewards]
        if outcome.abstained:
            return Score(abstained=True, evidence="the outcome abstained")
        closeness = sum(seen) / len(seen) if seen else 0.0
        reached = tier(closeness, self.edges, self.tiers)
        checks = [Check("closeness", closeness), Check("tier", reached)]
        return Score(outcome.value + self.alpha * reached, checks)

    async def score(self, episode: Episode) -> Score:
        return self.combine(episode, [await self.outcome.score(episode)])


def tier(value: float, edges: Sequence[float] = EDGES, tiers: Sequence[float] = TIERS) -> float:
    """The tier of a closeness; a value on an edge is in the upper one."""
    return tiers[bisect_right(edges, value)]


def box_closeness(x: float, y: float, box: tuple[float, float, float, float]) -> float:
    """exp(-d^2 / 2), d the distance of a click to the centre of a box (left, top, right, bottom)
    in units of half its width and height."""
    left, top, right, bottom = box
    dx = (x - (left + right) / 2) / ((right - left) / 2)
    dy = (y - (top + bottom) / 2) / ((bottom - top) / 2)
    return math.exp(-(dx**2 + dy**2) / 2)


def grid_closeness(given: Sequence[Sequence[object]], wanted: Sequence[Sequence[object]]) -> float:
    """Mean over 3x3 blocks of the blocks' share of right cells, in thirds (high, medium, low)."""
    rows, columns = len(wanted), len(wanted[0])
    marks = []
    for top in range(0, rows, 3):
        for left in range(0, columns, 3):
            cells = [
                (r, c)
                for r in range(top, min(top + 3, rows))
                for c in range(left, min(left + 3, columns))
            ]
            right = sum(
                r < len(given) and c < len(given[r]) and given[r][c] == wanted[r][c]
                for r, c in cells
            )
            marks.append(math.floor(3 * right / len(cells)) / 3)
    return sum(marks) / len(marks)
