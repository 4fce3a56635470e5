"""A limit on spending that holds with many calls in flight."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from agentrl.core import InfraError


@dataclass(slots=True)
class Bill:
    """What one call came to; set `cost` before the reservation ends."""

    cost: float = 0.0


class Budget:
    """US dollars that one or several models may spend together.

    A call reserves the most that it can cost and pays what it did cost. When the rest is too small
    for that most, it waits for calls in flight to give back what they did not need, and is refused
    when there are none: spending never passes the limit.

    Args:
        limit: US dollars; None: only count.
    """

    def __init__(self, limit: float | None = None) -> None:
        self.limit = limit
        self.spent = 0.0
        self._reserved = 0.0
        self._in_flight = 0
        self._settled = asyncio.Condition()

    @asynccontextmanager
    async def reserve(self, most: float) -> AsyncIterator[Bill]:
        """Raises `InfraError("budget_spent")` when `most` dollars are not left."""
        async with self._settled:
            while self.limit is not None and self.spent + self._reserved + most > self.limit:
                if not self._in_flight:
                    raise InfraError(
                        "budget_spent",
                        f"{self.spent:.4f} of {self.limit:g} US dollars are spent and the next "
                        f"call may cost {most:.4f}",
                        fix="raise the budget, or ask less",
                    )
                await self._settled.wait()
            self._reserved += most
            self._in_flight += 1
        bill = Bill()
        try:
            yield bill
        finally:
            self.spent += bill.cost
            self._reserved -= most
            self._in_flight -= 1
            if not self._in_flight:
                self._reserved = 0.0  # what floating point left over
            await asyncio.shield(self._wake())

    async def _wake(self) -> None:
        async with self._settled:
            self._settled.notify_all()
