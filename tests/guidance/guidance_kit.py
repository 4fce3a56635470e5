"""Groups, tasks and rollouts made by hand: what becomes of them is what the tests look at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from agentrl.core import Attempt, Episode, Group, Message, Score, Status, Task, Turn
from agentrl.guidance import Guidance, GuidanceSettings, Means, Sources, build_guidance

TASK = Task("door", "Open it.", reference={"solution": "0123456789", "hint": "turn it left"})


def episode(
    reward: float,
    number: int = 0,
    *,
    task: Task = TASK,
    said: Sequence[str] = ("done",),
    steps: Sequence[float] = (),
    guidance: dict[str, Any] | None = None,
    **outcome: Any,
) -> Episode:
    turns = [Turn(np.zeros(1, np.int32), np.zeros(1, np.float32), text) for text in said]
    return Episode(
        task,
        id=f"{task.id}-{number}",
        status=Status.COMPLETED,
        prompt=[Message("user", task.prompt)],
        turns=turns,
        scores={"reward": Score(reward, steps=list(steps))},
        guidance=guidance or {},
        outcome=outcome,
    )


def group(rewards: Sequence[float], task: Task = TASK) -> Group:
    return Group((task.id,), [episode(r, n, task=task) for n, r in enumerate(rewards)])


class Rollouts:
    """Runs attempts by asking `reward(attempt, number)`; remembers them."""

    def __init__(self, reward: Callable[[Attempt, int], float]) -> None:
        self._reward = reward
        self.asked: list[Attempt] = []
        self.calls = 0

    async def __call__(self, attempts: Sequence[Attempt]) -> list[Episode]:
        self.calls += 1
        found = []
        for number, attempt in enumerate(attempts):
            made = episode(self._reward(attempt, number), 100 + len(self.asked), task=attempt.task)
            made.guidance = dict(attempt.guide.note) if attempt.guide is not None else {}
            self.asked.append(attempt)
            found.append(made)
        return found

    @property
    def levels(self) -> list[int]:
        return [a.guide.note["level"] for a in self.asked if a.guide is not None]


def guidance(kind: str, steps: int = 100, sources: Sources | None = None, **given: Any) -> Guidance:
    settings = GuidanceSettings(kind=kind, **given)
    return build_guidance(settings, sources or Sources(), steps=steps)


def means(rollouts: Rollouts, **others: Any) -> Means:
    return Means(rollouts, **others)


def level_of(attempt: Attempt) -> int:
    assert attempt.guide is not None
    return int(attempt.guide.note["level"])
