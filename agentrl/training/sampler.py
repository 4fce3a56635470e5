"""Which tasks the next step works on.

A sampler is asked with `batch` (and `others`), which change nothing, and told of the step's groups
with `observe`, which moves it on: a step that did not come to its end is drawn again as it was.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

from agentrl.core import ConfigError, Group, Task, derive_seed


class Sampler(Protocol):
    """What draws the tasks of steps, counted from 0."""

    @property
    def per_step(self) -> int:
        """Tasks of one step."""
        ...

    def batch(
        self, step: int, count: int | None = None, without: Collection[str] = ()
    ) -> list[Task]:
        """`count` different tasks (`per_step` of them by default), none of the ids `without`;
        fewer where there are no more."""
        ...

    def others(self, step: int, turn: int, taken: set[str], count: int) -> list[Task]:
        """Up to `count` tasks that are not `taken`, for a step that needs more; `turn` counts how
        often it has asked."""
        ...

    def observe(self, step: int, groups: Sequence[Group]) -> None:
        """The groups of a step that is over, those of refills and derived tasks among them."""
        ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


class TaskSampler:
    """Shuffled epochs over the tasks, a batch of distinct tasks per step.

    The order depends on the seed and the epoch alone. An epoch's rest that is too short for a batch
    is left out; tasks that gave way to others (a replay) come in the next step.
    """

    def __init__(self, tasks: Sequence[Task], per_step: int, seed: int) -> None:
        if not tasks:
            raise ConfigError("there is no task to train on", where="tasks.train")
        self._tasks = list(tasks)
        self.per_step = min(per_step, len(self._tasks))
        self._seed = seed
        self._at = self._then = (0, 0)

    def batch(
        self, step: int, count: int | None = None, without: Collection[str] = ()
    ) -> list[Task]:
        count = self.per_step if count is None else min(count, self.per_step)
        epoch, start = self._at
        for _ in range(2):
            order = self._order(epoch)
            left = [i for i in range(start, len(order)) if order[i].id not in without]
            if len(left) >= count or not start:
                break
            epoch, start = epoch + 1, 0
        chosen = left[:count]
        self._then = (epoch, chosen[-1] + 1 if chosen else start)
        return [order[i] for i in chosen]

    def others(self, step: int, turn: int, taken: set[str], count: int) -> list[Task]:
        left = [task for task in self._tasks if task.id not in taken]
        draw = random.Random(derive_seed(self._seed, "others", step, turn))
        return draw.sample(left, min(count, len(left)))

    def observe(self, step: int, groups: Sequence[Group]) -> None:
        self._at = self._then

    def state_dict(self) -> dict[str, Any]:
        return {"at": list(self._at)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        epoch, start = state["at"]
        self._at = self._then = (int(epoch), int(start))

    def _order(self, epoch: int) -> list[Task]:
        order = list(range(len(self._tasks)))
        random.Random(derive_seed(self._seed, "epoch", epoch)).shuffle(order)
        return [self._tasks[i] for i in order]
