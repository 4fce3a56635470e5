"""How much of a resource may be in use at once: engine calls, judgements."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from types import TracebackType


@dataclass(slots=True)
class Slots:
    """`async with slots:` waits, first come first served, until one of `limit` is free.

    Attributes:
        limit: None for as many as there are.
        used, peak: slots taken now, and the most that ever were.
    """

    limit: int | None = None
    used: int = 0
    peak: int = 0
    _free: asyncio.Semaphore | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self._free = None if self.limit is None else asyncio.Semaphore(self.limit)

    async def __aenter__(self) -> None:
        if self._free is not None:
            await self._free.acquire()
        self.used += 1
        self.peak = max(self.peak, self.used)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.used -= 1
        if self._free is not None:
            self._free.release()


@dataclass(slots=True)
class Resources:
    """What the episodes of a runner share. Sandboxes are counted by their pool."""

    engine: Slots = field(default_factory=Slots)
    judges: Slots = field(default_factory=Slots)
