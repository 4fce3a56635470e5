"""A check made of properties: what the source says beside what our code computes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from agentrl.papers.registry import Measured

Numbers = float | Sequence[float] | np.ndarray
COLUMNS = ["property", "expected", "measured", "holds"]


@dataclass(slots=True)
class Property:
    """Numbers that must be equal, each within `tolerance` (relative, or absolute near zero)."""

    what: str
    expected: Numbers
    measured: Numbers
    tolerance: float = 1e-4

    @property
    def holds(self) -> bool:
        want, got = _list(self.expected), _list(self.measured)
        return len(want) == len(got) and all(
            math.isclose(g, w, rel_tol=self.tolerance, abs_tol=self.tolerance)
            for w, g in zip(want, got, strict=True)
        )


def measured(properties: Iterable[Property]) -> Measured:
    """Passes when every property holds; one line of the table for each."""
    found = list(properties)
    rows: list[list[str | int | float]] = [
        [p.what, _text(p.expected), _text(p.measured), "yes" if p.holds else "NO"] for p in found
    ]
    return Measured(bool(found) and all(p.holds for p in found), COLUMNS, rows)


def _list(numbers: Numbers) -> list[float]:
    return [float(x) for x in np.ravel(numbers)]


def _text(numbers: Numbers) -> str:
    return " ".join(f"{x + 0.0:.4g}" for x in _list(numbers))
