"""PIPO: a batch is judged once more by whether the policy it made did better.

At each step the mean reward is compared with the window before it, for each kind of task on its
own, since another mix of tasks is no progress. What came of the last batch (the standardised
change) becomes a scalar weight on that batch's own advantages, and one more clipped step is made
on it: an update that helped is confirmed, one that hurt is partly undone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from agentrl.core import Task
from agentrl.learner.rows import Row
from agentrl.learner.settings import Aggregation, Hindsight
from agentrl.learner.weights import aggregation_weights

KEPT = (
    "episode",
    "tokens",
    "where",
    "target",
    "behave",
    "turn",
    "version",
    "advantage",
    "hinted",
    "foreign",
)
"""What of a row the second look needs."""


class Memory:
    """The window of mean rewards and the rows of the last batch."""

    def __init__(self, settings: Hindsight) -> None:
        self._s = settings
        self.means: dict[str, list[float]] = {}
        self.rows: list[Row] = []

    def feedback(self, rewards: np.ndarray, tasks: Sequence[Task]) -> float:
        """phi(xi): the standardised change of the mean reward, falls damped; then remember it.

        The changes xi_s of kinds of tasks with a history become one by their shares w_s of the
        batch: sum w_s xi_s / sqrt(sum w_s^2), which again has deviation one (Stouffer).

        Args:
            rewards: float64[E]; tasks: those of the E episodes.
        """
        kinds = np.array([kind_of(task, self._s.kind) for task in tasks])
        total = square = 0.0
        for kind in np.unique(kinds).tolist():
            mine = rewards[kinds == kind]
            past, mean = self.means.setdefault(kind, []), float(mine.mean())
            if len(past) >= self._s.least:
                total += len(mine) * change(past, mean, self._s.least)
                square += len(mine) ** 2
            self.means[kind] = [*past, mean][-self._s.window :]
        xi = float(np.clip(total / max(square, 1.0) ** 0.5, -self._s.limit, self._s.limit))
        if abs(xi) <= self._s.threshold:
            return 0.0
        return xi if xi >= 0 else self._s.negative * xi

    def weighed(self, feedback: float, aggregation: Aggregation) -> list[Row]:
        """The rows of the last batch that have a gradient, ready for one more step."""
        rows = [r for r in self.rows if r.advantage.any()] if feedback != 0.0 else []
        for row, weight in zip(rows, aggregation_weights(rows, aggregation), strict=True):
            row.weight, row.advantage = weight, feedback * row.advantage
        return rows

    def keep(self, rows: Sequence[Row], group: np.ndarray, *, attribute: bool = True) -> None:
        """Remember a batch; `attribute` makes the advantages of a group sum to its size in
        absolute value (a critic's stay as they are)."""
        text = [r for r in rows if not r.images]  # images would not fit into a checkpoint
        self.rows = [Row(**{name: getattr(r, name) for name in KEPT}) for r in text]
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
        return {"means": {kind: list(m) for kind, m in self.means.items()}, "rows": rows}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        known = {f.name for f in fields(Row)}
        self.means = {kind: list(m) for kind, m in state["means"].items()}
        self.rows = [Row(**{k: v for k, v in r.items() if k in known}) for r in state["rows"]]


def kind_of(task: Task, key: str) -> str:
    """What a task is compared with: its environment, or what its metadata has at `key`."""
    if not key:
        return ""
    return task.environment if key == "environment" else str(task.metadata.get(key, ""))


def change(history: Sequence[float], mean: float, least: int) -> float:
    """xi = (mean - mean of history) / its sample deviation; 0 when that says nothing."""
    if len(history) < max(least, 2):
        return 0.0
    spread = float(np.std(history, ddof=1))
    return (mean - float(np.mean(history))) / spread if spread > 1e-12 else 0.0
