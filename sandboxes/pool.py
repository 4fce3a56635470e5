"""Warm sandboxes: started ahead, reset and used again, never more than a bound."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TypeVar

from agentrl.core import PYTEST_IMPORTS, Sandbox, SandboxError
from agentrl.sandboxes.collect import note_use
from agentrl.sandboxes.docker import DockerSandbox, Limits
from agentrl.sandboxes.engine import DockerEngine
from agentrl.sandboxes.hive import Hive
from agentrl.sandboxes.images import ensure_image
from agentrl.sandboxes.owner import reap, sweep
from agentrl.sandboxes.process import ProcessSandbox

T = TypeVar("T")
REFUSALS = 2


class Pool:
    """Implements `agentrl.core.SandboxProvider` over any way to make a sandbox.

    `size` bounds the sandboxes acquired at one time, and, counted apart so that an episode can be
    graded while it holds its own, those taken with `fresh`. At most `spare` unused ones are kept
    ready beyond that.

    Args:
        make: starts one sandbox.
        make_fresh: starts one for `fresh`; by default those are made as the others. When one comes
            back it goes on to be used, unless its `single_use` is true.
        starts: how many are started at once.
    """

    def __init__(
        self,
        make: Callable[[], Awaitable[Sandbox]],
        *,
        size: int = 8,
        spare: int = 1,
        starts: int = 2,
        make_fresh: Callable[[], Awaitable[Sandbox]] | None = None,
    ) -> None:
        if size < 1 or spare < 0 or starts < 1:
            raise ValueError("size and starts are at least 1, spare at least 0")
        self._make = make
        self._make_fresh = make_fresh
        self._size = size
        self._spare = spare
        self._acquiring = asyncio.Semaphore(size)
        self._grading = asyncio.Semaphore(size)
        self._starting = asyncio.Semaphore(starts)
        self._unused: deque[Sandbox] = deque()
        self._used: deque[Sandbox] = deque()
        self._out: dict[int, tuple[Sandbox, asyncio.Semaphore]] = {}
        self._refill: asyncio.Task[None] | None = None
        self._closed = False
        self.on_change: Callable[[int], None] | None = None
        """Told how many sandboxes are in use whenever that changes."""

    async def __aenter__(self) -> Pool:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def warm(self, count: int) -> None:
        """Have `count` unused sandboxes ready; raises what keeps them from starting."""
        missing = max(0, min(count, self._size) - len(self._unused))
        made = await asyncio.gather(*(self._start() for _ in range(missing)))
        self._unused.extend(made)

    async def acquire(self) -> Sandbox:
        """A sandbox in its initial state; waits while `size` are in use."""
        return await self._take(self._acquiring, self._used, self._unused)

    async def fresh(self) -> Sandbox:
        """A sandbox that nobody has used before, for grading."""
        if self._make_fresh is None:
            return await self._take(self._grading, self._unused)
        return await self._take(self._grading, make=self._make_fresh)

    async def release(self, sandbox: Sandbox) -> None:
        """Give it back: it is reset for the next user, or removed when that fails.

        Also safe for one that died, was closed, or was given back already.
        """
        _, bound = self._out.pop(id(sandbox), (None, None))
        if bound is None:
            return
        self._changed()
        try:
            if (
                self._closed
                or getattr(sandbox, "single_use", False)
                or len(self._used) >= self._size
            ):
                await sandbox.close()
                return
            await sandbox.reset()
            self._used.append(sandbox)
        except SandboxError:
            await _close_quietly(sandbox)
        except asyncio.CancelledError:
            await asyncio.shield(_close_quietly(sandbox))
            raise
        finally:
            bound.release()

    async def close(self) -> None:
        """Remove every sandbox, also those in use."""
        self._closed = True
        if self._refill is not None:
            self._refill.cancel()
            await asyncio.gather(self._refill, return_exceptions=True)
        left = [*self._unused, *self._used, *(sandbox for sandbox, _ in self._out.values())]
        self._unused.clear()
        self._used.clear()
        self._out.clear()
        await asyncio.gather(*(_close_quietly(sandbox) for sandbox in left))

    async def _take(
        self,
        bound: asyncio.Semaphore,
        *stocks: deque[Sandbox],
        make: Callable[[], Awaitable[Sandbox]] | None = None,
    ) -> Sandbox:
        if self._closed:
            raise SandboxError("pool_closed", "the pool has been closed")
        await bound.acquire()
        try:
            sandbox = await (make() if make else self._from(*stocks))
        except BaseException:
            bound.release()
            raise
        self._out[id(sandbox)] = (sandbox, bound)
        self._changed()
        self._replenish()
        return sandbox

    def _changed(self) -> None:
        if self.on_change is not None:
            self.on_change(len(self._out))

    async def _from(self, *stocks: deque[Sandbox]) -> Sandbox:
        for stock in stocks:
            while stock:
                sandbox = stock.popleft()
                if await _alive(sandbox):
                    return sandbox
                await _close_quietly(sandbox)
        return await self._start()

    async def _start(self) -> Sandbox:
        async with self._starting:
            return await self._make()

    def _replenish(self) -> None:
        """Start spares in the background. A failure there shows at the next direct start."""

        async def refill() -> None:
            while not self._closed and len(self._unused) < self._spare:
                sandbox = await self._start()
                self._unused.append(sandbox)

        if self._refill is None or self._refill.done():
            if self._refill is not None and not self._refill.cancelled():
                self._refill.exception()
            self._refill = asyncio.create_task(refill())


class DockerPool(Pool):
    """A pool of containers of one image. The first use connects, builds the image where none is
    named, and removes what dead owners left.

    Args:
        hive: take what `fresh` gives from a `Hive`, which costs a tenth of a container; where
            the engine does not allow that, containers are used all the same.
        patience: seconds to wait for an engine that was there and is gone, such as one that is
            being restarted.
        preload: what the hive imports once for all, see `agentrl.core.WarmPython`.
    """

    def __init__(
        self,
        image: str | None = None,
        *,
        limits: Limits | None = None,
        workdir: str = "/work",
        size: int = 8,
        spare: int = 1,
        starts: int = 2,
        host: str | None = None,
        patience: float = 60.0,
        hive: bool = True,
        preload: str = PYTEST_IMPORTS,
    ) -> None:
        super().__init__(
            self._create, size=size, spare=spare, starts=starts, make_fresh=self._create_fresh
        )
        self.image = image
        self._limits = limits or Limits()
        self._workdir = workdir
        self._host = host
        self._patience = patience
        self._engine: DockerEngine | None = None
        self._connecting = asyncio.Lock()
        self._wants_hive, self._preload = hive, preload
        self._hive: Hive | None = None
        self._hatching = asyncio.Lock()

    async def close(self) -> None:
        await super().close()
        hive, self._hive = self._hive, None
        if hive is not None:
            with contextlib.suppress(SandboxError):
                await hive.close()
        await self._sweep()
        if self._engine is not None:
            engine, self._engine = self._engine, None
            await asyncio.to_thread(engine.close)

    async def _create(self) -> DockerSandbox:
        engine, image = await self._connected()
        limits, workdir = self._limits, self._workdir
        return await self._patiently(
            lambda: DockerSandbox.create(engine, image, limits=limits, workdir=workdir)
        )

    async def _create_fresh(self) -> Sandbox:
        await self._connected()
        try:
            hive = await self._patiently(self._current_hive)
        except SandboxError as error:
            if error.cause != "docker_refused":
                raise
            self._wants_hive, hive = False, None
        return await (hive.cell() if hive else self._from(self._unused))

    async def _patiently(self, start: Callable[[], Awaitable[T]]) -> T:
        """Start something; an engine that is down may be coming back, and one that is going down
        refuses what it is asked."""
        until = time.monotonic() + self._patience
        refusals = 0
        while True:
            try:
                made = await start()
            except SandboxError as error:
                refusals += error.cause == "docker_refused"
                again = error.cause == "docker_down" or 0 < refusals <= REFUSALS
                if not again or time.monotonic() > until or self._closed:
                    raise
                await asyncio.sleep(0.5)
            else:
                await self._sweep()
                return made

    async def _sweep(self) -> None:
        if self._engine is not None and self._engine.unremoved:
            with contextlib.suppress(SandboxError):
                await asyncio.to_thread(sweep, self._engine)

    async def _current_hive(self) -> Hive | None:
        """One that lives; None where there can be none."""
        async with self._hatching:
            if self._hive is not None and self._hive.gone is None:
                return self._hive
            if not self._wants_hive:
                return None
            engine, image = await self._connected()
            try:
                self._hive = await Hive.create(
                    engine,
                    image,
                    limits=self._limits,
                    workdir=self._workdir,
                    preload=self._preload,
                )
            except SandboxError as error:
                if error.cause != "hive_refused":
                    raise
                self._wants_hive, self._hive = False, None
            return self._hive

    async def _connected(self) -> tuple[DockerEngine, str]:
        async with self._connecting:
            if self._engine is None:
                self._engine = await asyncio.to_thread(self._connect)
        assert self.image is not None
        return self._engine, self.image

    def _connect(self) -> DockerEngine:
        engine = DockerEngine(self._host)
        reap(engine)
        if self.image is None:
            self.image = ensure_image(engine=engine)
        note_use(self.image)
        return engine


class ProcessPool(Pool):
    """A pool of `ProcessSandbox`, which isolates nothing."""

    def __init__(self, *, size: int = 8, spare: int = 1) -> None:
        super().__init__(ProcessSandbox.create, size=size, spare=spare)


async def _alive(sandbox: Sandbox) -> bool:
    """A container can die while it waits; one small command finds out."""
    try:
        return (await sandbox.exec("true", timeout=10.0)).ok
    except SandboxError:
        return False


async def _close_quietly(sandbox: Sandbox) -> None:
    """Remove what is of no use any more; when the engine is down, the next start reaps it."""
    with contextlib.suppress(SandboxError):
        await sandbox.close()
