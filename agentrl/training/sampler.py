"""Which tasks the next step works on."""

from __future__ import annotations

import random
from collections.abc import Sequence

from agentrl.core import ConfigError, Task, derive_seed


class TaskSampler:
    """Shuffled epochs over the tasks, a batch of distinct tasks per step.

    The order depends on the seed and the epoch alone, so a resumed run needs nothing but the
    number of the step to go on as if nothing had happened.
    """

    def __init__(self, tasks: Sequence[Task], per_step: int, seed: int) -> None:
        if not tasks:
            raise ConfigError("there is no task to train on", where="tasks.train")
        self._tasks = list(tasks)
        self._per_step = min(per_step, len(self._tasks))
        self._seed = seed

    def batch(self, step: int) -> list[Task]:
        """The tasks of a step; an epoch's rest that is too short for a batch is left out."""
        per_epoch = len(self._tasks) // self._per_step
        epoch, index = divmod(step, per_epoch)
        order = list(range(len(self._tasks)))
        random.Random(derive_seed(self._seed, "epoch", epoch)).shuffle(order)
        start = index * self._per_step
        return [self._tasks[i] for i in order[start : start + self._per_step]]

    def others(self, step: int, turn: int, taken: set[str], count: int) -> list[Task]:
        """Up to `count` tasks that are not `taken`, for a step that needs more; `turn` counts how
        often it has asked."""
        left = [task for task in self._tasks if task.id not in taken]
        draw = random.Random(derive_seed(self._seed, "others", step, turn))
        return draw.sample(left, min(count, len(left)))
