"""How close an attempt came, for `tiered` (SSL, paper 21): clicks to boxes, grids to grids."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from agentrl.core import Check, Episode, Score

Box = tuple[float, float, float, float]


@dataclass(slots=True)
class ClickProximity:
    """Steps: for every click, the Gaussian field of its target's box, exp(-d^2 / 2) (paper 21)

    The k-th click is held against the k-th box (left, top, right, bottom) of the reference, in
    pixels; clicks beyond the last box are worth 0. Value: the mean over the boxes, a click that
    was never made being 0.

    Reads `outcome["rounds"]`, the entries with a "point" [x, y] and their "turn".
    """

    reference: str = "boxes"
    name: str = "click_proximity"

    async def score(self, episode: Episode) -> Score:
        boxes = episode.task.reference.get(self.reference)
        if not boxes or "rounds" not in episode.outcome:
            return Score(abstained=True, evidence=f"no reference {self.reference!r}, or no rounds")
        clicks = [r for r in episode.outcome["rounds"] if r.get("point") is not None]
        pairs = zip(clicks, boxes, strict=False)
        near = [box_closeness(c["point"][0], c["point"][1], box) for c, box in pairs]
        steps = [0.0] * len(episode.turns)
        for click, value in zip(clicks, near, strict=False):
            steps[click["turn"]] += value
        checks = [
            Check(f"click/{k}", value, value >= EDGE_OF_BOX, turn=click["turn"])
            for k, (click, value) in enumerate(zip(clicks, near, strict=False))
        ]
        return Score(sum(near) / len(boxes), checks, steps)


@dataclass(slots=True)
class GridProximity:
    """How far a grid is the right one, block by block: see `grid_closeness` (paper 21).

    Reads `outcome["grid"]` and the reference's grid, both lists of rows.
    """

    reference: str = "grid"
    name: str = "grid_proximity"

    async def score(self, episode: Episode) -> Score:
        wanted, given = episode.task.reference.get(self.reference), episode.outcome.get("grid")
        if not wanted or given is None:
            return Score(abstained=True, evidence=f"no reference {self.reference!r}, or no 'grid'")
        return Score(grid_closeness(given, wanted))


# Of the field, where an axis through the centre meets the side of the box.
EDGE_OF_BOX = math.exp(-0.5)


def box_closeness(x: float, y: float, box: Sequence[float]) -> float:
    """exp(-d^2 / 2), d the distance of a click to the centre of a box (left, top, right, bottom)
    in units of half its width and height, sides under two pixels counting as two."""
    left, top, right, bottom = box
    dx = (x - (left + right) / 2) / max((right - left) / 2, 1.0)
    dy = (y - (top + bottom) / 2) / max((bottom - top) / 2, 1.0)
    return math.exp(-(dx**2 + dy**2) / 2)


def grid_closeness(given: Sequence[Sequence[Any]], wanted: Sequence[Sequence[Any]]) -> float:
    """Mean over 3x3 blocks of the blocks' share of right cells, in thirds (high, medium, low)."""
    marks = []
    for cells in _blocks(len(wanted), len(wanted[0])):
        right = sum(_at(given, r, c) == wanted[r][c] for r, c in cells)
        marks.append(math.floor(3 * right / len(cells)) / 3)
    return sum(marks) / len(marks)


def _blocks(rows: int, columns: int) -> Iterator[list[tuple[int, int]]]:
    for top in range(0, rows, 3):
        for left in range(0, columns, 3):
            bottom, right = min(top + 3, rows), min(left + 3, columns)
            yield [(r, c) for r in range(top, bottom) for c in range(left, right)]


def _at(grid: Sequence[Sequence[Any]], row: int, column: int) -> Any:
    """A cell; one that a grid of another size lacks equals nothing."""
    inside = row < len(grid) and column < len(grid[row])
    return grid[row][column] if inside else _NOTHING


_NOTHING = object()
