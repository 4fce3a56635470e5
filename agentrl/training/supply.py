"""What a step works on: the sampler's tasks, and among them some that failed before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from agentrl.core import Group, Task
from agentrl.store import FailureLog, RunStore
from agentrl.training.config.replay import ReplayConfig
from agentrl.training.failures import (
    FailureBuffer,
    Waiting,
    drawn_seed,
    replayed,
    stored_episodes,
)
from agentrl.training.progress import solved
from agentrl.training.sampler import Sampler


class Supply:
    """A sampler with failure replay; takes the sampler's place (see `Sampler`).

    Args:
        tasks: of the run, by id: a waiting task is taken from here where it is known.
        settings: None for no replay.
    """

    def __init__(
        self,
        sampler: Sampler,
        tasks: Sequence[Task],
        settings: ReplayConfig | None,
        seed: int,
    ) -> None:
        self._sampler, self._settings, self._seed = sampler, settings, seed
        self._tasks = {task.id: task for task in tasks}
        self._environments = {task.environment for task in tasks}
        self._buffer: FailureBuffer | None = None
        self._store: RunStore | None = None
        self._again: list[str] = []

    @contextmanager
    def opened(self, store: RunStore, step: int) -> Iterator[None]:
        """Begin where the store ends.

        Args:
            step: the last one that counts: what a killed run wrote beyond it is forgotten.
        """
        self._store = store
        if self._settings is None:
            yield
            return
        url = self._settings.url
        log = FailureLog.open(url, store.name) if url else store.failure_log()
        try:
            log.rewind(step)
            self._buffer = FailureBuffer(self._settings, log)
            yield
        finally:
            log.close()

    @property
    def per_step(self) -> int:
        return self._sampler.per_step

    def batch(self, step: int) -> list[Task]:
        """Waiting tasks first, then the sampler's."""
        again = self._replayed(step)
        self._again = [task.id for task in again]
        count = self.per_step - len(again)
        return [*again, *self._sampler.batch(step, count, set(self._again))]

    def others(self, step: int, turn: int, taken: set[str], count: int) -> list[Task]:
        return self._sampler.others(step, turn, taken, count)

    def with_stored(self, groups: Sequence[Group], version: int) -> list[Group]:
        """Groups to learn from, those of replayed tasks with stored episodes beside them."""
        if self._settings is None or self._settings.stored is None or self._store is None:
            return list(groups)
        out = []
        for group in groups:
            task = group.episodes[0].task.id
            if task in self._again:
                fresh = {e.id for e in group.episodes}
                old = stored_episodes(self._store, task, version, self._settings.stored, fresh)
                group = Group(group.key, [*group.episodes, *old])
            out.append(group)
        return out

    def observe(self, step: int, groups: Sequence[Group]) -> None:
        """The step (from 0) is over; to be called in the transaction that stores it."""
        if self._buffer is not None:
            self._buffer.waiting()
            for group in groups:
                if group.episodes and "derived" not in group.episodes[0].task.metadata:
                    self._buffer.record(step + 1, group, [solved(e) for e in group.judged])
        self._sampler.observe(step, groups)

    def metrics(self) -> dict[str, float]:
        if self._buffer is None:
            return {}
        return {
            "replay/waiting": float(len(self._buffer.waiting())),
            "replay/tried": float(len(self._again)),
        }

    def state_dict(self) -> dict[str, Any]:
        return self._sampler.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if state:
            self._sampler.load_state_dict(state)

    def _replayed(self, step: int) -> list[Task]:
        count = replayed(step + 1, self.per_step, self._settings)
        if not count or self._buffer is None:
            return []
        drawn = self._buffer.draw(count, drawn_seed(self._seed, step))
        return [task for waiting in drawn if (task := self._task(waiting)) is not None]

    def _task(self, waiting: Waiting) -> Task | None:
        """A run's own task, or another run's when it is for an environment of this one."""
        if waiting.task in self._tasks:
            return self._tasks[waiting.task]
        assert self._buffer is not None
        found = self._buffer.task(waiting)
        return found if found is not None and found.environment in self._environments else None
