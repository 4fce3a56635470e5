"""Many episodes over one event loop: no barrier between turns, none between groups."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from agentrl.core import (
    Attempt,
    Episode,
    Group,
    Guide,
    Sampling,
    Start,
    Status,
    Task,
    derive_seed,
)

HOPELESS = frozenset({"restore_diverged", "restore_failed"})
"""What trying again does not mend."""


class RunsEpisodes(Protocol):
    """What a scheduler schedules: a `Runner`, or a program behind the gateway."""

    async def run(
        self, task: Task, seed: int, start: Start | None = None, guide: Guide | None = None
    ) -> Episode:
        """One episode, whatever happens; only cancellation raises (and ConfigError, from one that
        cannot be given hints)."""
        ...

    def with_sampling(self, sampling: Sampling) -> RunsEpisodes:
        """The same, but for how tokens are drawn."""
        ...


@dataclass(slots=True)
class Scheduler:
    """Runs groups of episodes, at most `concurrency` at a time.

    Attributes:
        retries: how often an episode that failed by infrastructure is run again (with a fresh
            seed) before it is given up and left out of every statistic.
        on_start, on_episode: told of every episode as it starts and as it ends (retries too).
    """

    runner: RunsEpisodes
    concurrency: int = 64
    retries: int = 2
    on_start: Callable[[Task], None] | None = None
    on_episode: Callable[[Episode], None] | None = None
    _slots: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self._slots = asyncio.Semaphore(self.concurrency)

    async def groups(
        self,
        tasks: Sequence[Task],
        size: int,
        *,
        seed: int,
        hopeless_after: int | None = None,
        guides: Mapping[str, Guide] | None = None,
    ) -> AsyncIterator[Group]:
        """One group of `size` episodes per task, each group yielded when its last one ends.

        Seeds depend on (seed, task, member) only, so the result does not depend on the order in
        which episodes happen to run. A task that is given twice has twice as many members.

        Args:
            hopeless_after: give a group up when its first so many members all got the same
                reward: the others are cancelled and left out, also those that were done already,
                so that what is learned from does not depend on who was faster. None: never.
            guides: by task id: hints that all members of a group are given.
        """
        running = self._start(tasks, size, seed, hopeless_after, guides)
        try:
            for finished in asyncio.as_completed(running):
                yield await finished
        finally:
            await _end(running)

    async def collect(
        self,
        tasks: Sequence[Task],
        size: int,
        *,
        seed: int,
        hopeless_after: int | None = None,
        guides: Mapping[str, Guide] | None = None,
    ) -> list[Group]:
        """All groups, in the order of `tasks`; the rest is as in `groups`."""
        running = self._start(tasks, size, seed, hopeless_after, guides)
        try:
            return list(await asyncio.gather(*running))
        finally:
            await _end(running)

    async def fork(self, start: Start, count: int, *, seed: int) -> Group:
        """`count` episodes that take up another at one turn, as a group of their own key: what is
        compared inside it is what was done from there on."""
        running = [
            asyncio.create_task(self._episode(start.task, derive_seed(seed, *start.key, n), start))
            for n in range(count)
        ]
        try:
            return Group(start.key, list(await asyncio.gather(*running)))
        finally:
            await _end(running)

    async def attempt(self, attempts: Sequence[Attempt]) -> list[Episode]:
        """Single episodes, each with its own hints and beginning, in the order of `attempts`."""
        running = [
            asyncio.create_task(self._episode(a.task, a.seed, a.start, a.guide)) for a in attempts
        ]
        try:
            return list(await asyncio.gather(*running))
        finally:
            await _end(running)

    def _start(
        self,
        tasks: Sequence[Task],
        size: int,
        seed: int,
        hopeless_after: int | None,
        guides: Mapping[str, Guide] | None,
    ) -> list[asyncio.Task[Group]]:
        hints, before = guides or {}, Counter[str]()
        running = []
        for task in tasks:
            members = range(before[task.id], before[task.id] + size)
            before[task.id] += size
            seeds = [derive_seed(seed, task.id, member) for member in members]
            group = self._group(task, seeds, hopeless_after, hints.get(task.id))
            running.append(asyncio.create_task(group))
        return running

    async def _group(
        self, task: Task, seeds: Sequence[int], first: int | None, guide: Guide | None
    ) -> Group:
        running = [asyncio.create_task(self._episode(task, s, guide=guide)) for s in seeds]
        try:
            if first is not None and first < len(seeds):
                scouts = list(await asyncio.gather(*running[:first]))
                if _alike(scouts):
                    return Group((task.id,), scouts)
            return Group((task.id,), list(await asyncio.gather(*running)))
        finally:  # when a callback raised (disk full), no sibling is left running
            await _end(running)

    async def _episode(
        self, task: Task, seed: int, start: Start | None = None, guide: Guide | None = None
    ) -> Episode:
        for attempt in range(self.retries + 1):
            async with self._slots:
                if self.on_start:
                    self.on_start(task)
                drawn = derive_seed(seed, "retry", attempt) if attempt else seed
                episode = await self.runner.run(task, drawn, start, guide)
            if self.on_episode:
                self.on_episode(episode)
            if episode.status != Status.INFRA_ERROR or episode.cause in HOPELESS:
                break
        return episode


async def _end(running: Sequence[asyncio.Task[Any]]) -> None:
    for one in running:
        one.cancel()
    await asyncio.gather(*running, return_exceptions=True)


def _alike(episodes: Sequence[Episode]) -> bool:
    """Nothing can be learned from comparing them; a broken one says nothing either way."""
    return all(e.judged for e in episodes) and len({e.reward for e in episodes}) == 1
