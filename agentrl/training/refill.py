"""DAPO's dynamic sampling: a group whose rewards are all alike is replaced by another task's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from agentrl.core import Episode, Group, Task
from agentrl.learner import LearnerSettings
from agentrl.learner.credit import has_signal

Collect = Callable[[Sequence[Task], int], Awaitable[list[Group]]]
"""Runs a group of episodes for each task; the number is that of the round, from 0."""


Assist = Callable[[Sequence[Group], int], Awaitable[list[Group]]]
"""What is learned from in the place of a round's groups: guidance may help those that failed."""


class Supplies(Protocol):
    """Where the tasks of a step come from, see `agentrl.training.sampler`."""

    def batch(self, step: int) -> list[Task]: ...

    def others(self, step: int, turn: int, taken: set[str], count: int) -> list[Task]: ...


@dataclass(slots=True)
class Batch:
    """The groups of a step.

    Attributes:
        sampled: all of them; teaching: those the learner is given.
        guided: further episodes that guidance asked for.
    """

    sampled: list[Group] = field(default_factory=list)
    teaching: list[Group] = field(default_factory=list)
    guided: list[Episode] = field(default_factory=list)
    rounds: int = 0

    @property
    def rollouts(self) -> int:
        """Episodes of the step, guided ones included."""
        return sum(len(group.episodes) for group in self.sampled) + len(self.guided)

    def metrics(self) -> dict[str, float]:
        return {
            "groups_sampled": float(len(self.sampled)),
            "groups_teaching": float(len(self.teaching)),
            "refill_rounds": float(self.rounds),
        }


async def collect_batch(
    collect: Collect,
    sampler: Supplies,
    step: int,
    settings: LearnerSettings,
    assist: Assist | None = None,
) -> Batch:
    """The groups of a step; with `settings.refill`, groups that teach nothing are left out and
    other tasks are sampled in their place, as long as there are rounds and tasks.

    What is drawn depends on the seed, the step and what was flat, so a resumed run draws it again.
    """
    assist = assist or _as_they_are
    tasks = sampler.batch(step)
    wanted = len(tasks)
    groups = await collect(tasks, 0)
    if not settings.refill:
        return Batch(list(groups), await assist(groups, 0))
    batch = Batch()
    taken = {task.id for task in tasks}
    while True:
        batch.sampled += groups
        taught = await assist(groups, batch.rounds)
        batch.teaching += [
            g for g, ok in zip(taught, has_signal(taught, settings), strict=True) if ok
        ]
        missing = wanted - len(batch.teaching)
        tasks = sampler.others(step, batch.rounds, taken, missing) if missing > 0 else []
        if not tasks or batch.rounds == settings.refill:
            return batch
        batch.rounds += 1
        taken |= {task.id for task in tasks}
        groups = await collect(tasks, batch.rounds)


async def _as_they_are(groups: Sequence[Group], turn: int) -> list[Group]:
    return list(groups)
