"""Threads for sync tools, so that no tool ever blocks the event loop.

`concurrent.futures` will not do: a hung call keeps its slot for ever, and keeps the interpreter
from exiting. Here a call past its deadline loses its thread: the thread is abandoned (Python
cannot stop it), counted, and its slot is free for the next call at once.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from agentrl.core import InfraError


@dataclass(slots=True)
class Outcome:
    """What a call came to. Carried by value: a future cannot carry a StopIteration."""

    value: Any = None
    error: BaseException | None = None


@dataclass(slots=True)
class _Job:
    function: Callable[[], Any]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Outcome]
    context: contextvars.Context = field(default_factory=contextvars.copy_context)
    started: float | None = None
    finished: bool = False
    abandoned: bool = False


class Workers:
    """At most `size` calls at a time, each in a daemon thread.

    Attributes:
        abandoned: threads whose call passed its deadline and that are still running.
    """

    def __init__(self, size: int = 128, max_abandoned: int = 512) -> None:
        self.abandoned = 0
        self._size, self._max_abandoned = size, max_abandoned
        self._live = self._idle = 0
        self._jobs: deque[_Job] = deque()
        self._wake = threading.Condition()

    async def run(self, function: Callable[[], Any], timeout: float) -> Outcome:
        """Run a function in a thread; the deadline counts from when a thread took it up.

        Raises:
            TimeoutError: the deadline passed; the thread has been abandoned.
            InfraError: too many threads are abandoned for this process to be sound.
        """
        loop = asyncio.get_running_loop()
        job = _Job(function, loop, loop.create_future())
        self._submit(job)
        try:
            while True:
                started = job.started
                wait = timeout if started is None else started + timeout - time.monotonic()
                if wait <= 0:
                    raise TimeoutError
                await asyncio.wait((job.future,), timeout=wait)
                if job.future.done():
                    return job.future.result()
        finally:
            if not job.future.done():
                self._abandon(job)

    def _submit(self, job: _Job) -> None:
        with self._wake:
            if self.abandoned >= self._max_abandoned:
                raise InfraError(
                    "threads_lost",
                    f"{self.abandoned} tool calls passed their deadline and still run",
                    fix="give the tool a time limit of its own, or make it async",
                )
            self._jobs.append(job)
            self._staff()

    def _staff(self) -> None:
        """Wake an idle thread or start one; call with the lock held."""
        if self._idle >= len(self._jobs):
            self._wake.notify()
        elif self._live < self._size:
            self._live += 1
            threading.Thread(target=self._work, name="agentrl-tool", daemon=True).start()

    def _abandon(self, job: _Job) -> None:
        with self._wake:
            if job.started is None:
                self._jobs.remove(job)
            elif not job.finished and not job.abandoned:
                job.abandoned = True
                self.abandoned += 1
                self._live -= 1
                if self._jobs:
                    self._staff()

    def _work(self) -> None:
        while True:
            with self._wake:
                while not self._jobs:
                    self._idle += 1
                    self._wake.wait()
                    self._idle -= 1
                job = self._jobs.popleft()
                job.started = time.monotonic()
            outcome = Outcome()
            try:
                outcome.value = job.context.run(job.function)
            except BaseException as error:  # noqa: BLE001  (boundary: the tool's own code)
                outcome.error = error
            with self._wake:
                job.finished = True
                if job.abandoned:
                    self.abandoned -= 1
                    return
            _deliver(job, outcome)
            del job, outcome


def _deliver(job: _Job, outcome: Outcome) -> None:
    def settle() -> None:
        if not job.future.done():
            job.future.set_result(outcome)

    try:
        job.loop.call_soon_threadsafe(settle)
    except RuntimeError:
        return  # the loop was closed while the tool ran: nobody waits for this any more


@functools.lru_cache(maxsize=1)
def _workers_of(pid: int) -> Workers:
    return Workers()


def workers() -> Workers:
    """The process's pool. Threads do not survive a fork, so a forked process has its own."""
    return _workers_of(os.getpid())
