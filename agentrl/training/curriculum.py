"""Which tasks teach most now: pass rates over time, and what papers choose by them.

Pure functions and small tables; what they choose goes into `Task.metadata` (`role`,
`unlabelled`, `unselected`), where the learner's settings find it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from agentrl.core import Episode, Group, Task, derive_seed


class PassRates:
    """Mean 0/1 success of every task, visit by visit."""

    def __init__(self, history: Mapping[str, Sequence[float]] | None = None) -> None:
        self._history = {task: list(rates) for task, rates in (history or {}).items()}

    def record(
        self, groups: Sequence[Group], solved: Callable[[Episode], bool] | None = None
    ) -> None:
        """Add one visit of each group's task; unjudged episodes and groups say nothing.

        Args:
            solved: whether an episode did its task; by default, a reward above 0.5 says so.
        """
        for group in groups:
            won = [solved(e) if solved else e.reward > 0.5 for e in group.judged]
            if won:
                task = group.episodes[0].task.id
                self._history.setdefault(task, []).append(sum(won) / len(won))

    def history(self, task: str) -> list[float]:
        """Pass rates of a task from the first visit to the last."""
        return list(self._history.get(task, ()))

    def latest(self) -> dict[str, float]:
        """The last pass rate of every task that was visited."""
        return {task: rates[-1] for task, rates in self._history.items()}

    def state_dict(self) -> dict[str, list[float]]:
        return {task: list(rates) for task, rates in self._history.items()}


def pair_tasks(
    rates: Mapping[str, float],
    count: int,
    seed: int,
    *,
    hard: tuple[float, float] = (0.0, 0.25),
    easy: tuple[float, float] = (0.75, 1.0),
) -> list[tuple[str, str]]:
    """Pairs of a hard task that is solved now and then and an easy one that fails now and then.

    Bidirectional pairing (Weighted GRPO): 0 < p <= hard[1] and easy[0] <= p < 1. The bounds are
    derived; the source gives none.

    Args:
        rates: the pass rate of each task.
        count: pairs wanted; fewer where one side has fewer tasks.
    """
    rare = sorted(t for t, p in rates.items() if hard[0] < p <= hard[1] and 0 < p < 1)
    safe = sorted(t for t, p in rates.items() if easy[0] <= p < easy[1] and 0 < p < 1)
    rng = random.Random(derive_seed(seed, "pairs"))
    rng.shuffle(rare)
    rng.shuffle(safe)
    return list(zip(rare, safe, strict=False))[:count]


def set_roles(tasks: Mapping[str, Task], pairs: Sequence[tuple[str, str]]) -> list[Task]:
    """The tasks of the pairs, in order, marked for `field.roles` of the learner."""
    chosen = []
    for hard, easy in pairs:
        for name, role in ((hard, "hard"), (easy, "easy")):
            tasks[name].metadata["role"] = role
            chosen.append(tasks[name])
    return chosen


def trajectory_scores(reference: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """float64[C], mean correlation of candidates' pass-rate curves with labelled tasks' (TraPO).

    Args:
        reference: float[R, epochs]; candidates: float[C, epochs]. A constant curve scores 0.
    """

    def standard(x: np.ndarray) -> np.ndarray:
        x = np.asarray(x, np.float64)
        centred = x - x.mean(1, keepdims=True)
        return np.asarray(centred / np.maximum(np.linalg.norm(centred, axis=1)[:, None], 1e-8))

    return np.asarray((standard(candidates) @ standard(reference).T).mean(1))


class TrajectorySelection:
    """TraPO's choice of unlabelled tasks: those whose learning curve looks like a labelled one's.

    Chosen are the best `top` share by score (at least one) and all above the threshold; the next
    choice counts them among the references. Nothing is chosen in the first `warmup` epochs.
    """

    def __init__(self, *, warmup: int = 8, top: float = 0.1, above: float = 0.4) -> None:
        self._warmup, self._top, self._above = warmup, top, above
        self.chosen: set[str] = set()

    def update(self, rates: PassRates, labelled: Sequence[str], unlabelled: Sequence[str]) -> None:
        """Choose anew, from curves over the epochs that all of them have seen."""
        seen = [rates.history(t) for t in (*labelled, *unlabelled)]
        epochs = min(map(len, seen), default=0)
        if epochs < max(self._warmup, 2) or not unlabelled or not labelled:
            return
        known = [*labelled, *sorted(self.chosen)]
        curves, references = (
            np.array([rates.history(t)[:epochs] for t in names]) for names in (unlabelled, known)
        )
        scores = trajectory_scores(references, curves)
        self.chosen = {unlabelled[i] for i in best(scores, self._top, self._above)}

    def mark(self, tasks: Sequence[Task]) -> None:
        """Tell the learner which unlabelled tasks weigh nothing (all are judged by majority)."""
        for task in tasks:
            task.metadata["unselected"] = (
                bool(task.metadata.get("unlabelled")) and task.id not in self.chosen
            )


def best(scores: np.ndarray, top: float, above: float) -> list[int]:
    """Indices of the best `top` share (at least one), and of all above the threshold."""
    count = max(int(np.ceil(top * len(scores))), 1) if len(scores) else 0
    order = np.argsort(-scores, kind="stable")[:count]
    return sorted({int(i) for i in order} | {int(i) for i in np.flatnonzero(scores > above)})
