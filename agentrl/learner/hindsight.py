"""PIPO: a batch is judged once more by whether the policy it made did better.

At each step the mean reward is compared with the window before it. What came of the last batch
(the standardised change) becomes a scalar weight on that batch's own advantages, and one more
clipped step is made on it: an update that helped is confirmed, one that hurt is partly undone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from agentrl.learner.rows import Row
from agentrl.learner.settings import Hindsight

KEPT = ("episode", "tokens", "where", "target", "behave", "turn", "version", "advantage")
"""What of a row the second look needs."""


class Memory:
    """The window of mean rewards and the rows of the last batch."""

    def __init__(self, settings: Hindsight) -> None:
        self._s = settings
        self.means: list[float] = []
        self.rows: list[Row] = []

    def feedback(self, mean: float) -> float:
        """phi(xi): the standardised change of the mean reward, falls damped; then remember it."""
        xi = change(self.means, mean, self._s.least)
        self.means = [*self.means, mean][-self._s.window :]
        xi = float(np.clip(xi, -self._s.limit, self._s.limit))
        if abs(xi) <= self._s.threshold:
            return 0.0
        return xi if xi >= 0 else self._s.negative * xi

    def keep(self, rows: Sequence[Row], group: np.ndarray, *, attribute: bool = True) -> None:
        """Remember a batch; `attribute` makes the advantages of a group sum to its size in
        absolute value (a critic's stay as they are)."""
        self.rows = [Row(**{name: getattr(r, name) for name in KEPT}) for r in rows]
        if not attribute:
            return
        size: dict[int, dict[int, float]] = {}
        for row in self.rows:
            members = size.setdefault(int(group[row.episode]), {})
            members[row.episode] = max(
                members.get(row.episode, 0.0), float(np.abs(row.advantage).max())
            )
        for row in self.rows:
            members = size[int(group[row.episode])]
            total = sum(members.values())
            if total > 0:
                row.advantage = row.advantage * len(members) / total

    def state_dict(self) -> dict[str, Any]:
        rows = [{n: getattr(r, n) for n in KEPT} for r in self.rows]
        return {"means": self.means, "rows": rows}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        known = {f.name for f in fields(Row)}
        self.means = list(state["means"])
        self.rows = [Row(**{k: v for k, v in r.items() if k in known}) for r in state["rows"]]


def change(history: Sequence[float], mean: float, least: int) -> float:
    """xi = (mean - mean of history) / its sample deviation; 0 when that says nothing."""
    if len(history) < max(least, 2):
        return 0.0
    spread = float(np.std(history, ddof=1))
    return (mean - float(np.mean(history))) / spread if spread > 1e-12 else 0.0
