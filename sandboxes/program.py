"""A program kept running in a sandbox and spoken to line by line."""

from __future__ import annotations

import asyncio
from typing import Any

from agentrl.core import SandboxError
from agentrl.sandboxes.channel import Channel

MAX_LINE = 64 << 20


class Program:
    """Implements `agentrl.core.Process` over a sandbox's channel.

    A request that times out, is cancelled, or is answered by more than MAX_LINE bytes ends the
    program: its next line could belong to any request.
    """

    def __init__(self, channel: Channel, argv: list[str]) -> None:
        self._channel = channel
        self._name = argv[0]
        self._number = 0
        self._buffer = bytearray()
        self._waiter: asyncio.Future[None] | None = None
        self._end: dict[str, Any] | None = None
        self._error: SandboxError | None = None
        self._lock = asyncio.Lock()

    def begin(self, spec: dict[str, Any]) -> None:
        self._number = self._channel.open(b"R", spec, self)

    async def request(self, line: str, *, timeout: float) -> str:
        if "\n" in line:
            raise ValueError("a request is one line")
        async with self._lock:
            self._raise_if_ended()
            # What came unasked belongs to no request.
            self._buffer.clear()
            self._channel.send(b"D", self._number, line.encode() + b"\n")
            try:
                async with asyncio.timeout(timeout):
                    return await self._line()
            except TimeoutError:
                self._channel.kill(self._number)
                raise TimeoutError(f"{self._name} gave no answer within {timeout:g} s") from None
            except asyncio.CancelledError:
                self._channel.kill(self._number)
                raise

    async def close(self) -> None:
        if self._end is None and self._error is None and self._channel.gone is None:
            self._channel.kill(self._number)
            self._channel.forget(self._number)
            self._end = {"code": 137, "tail": "it was closed"}

    async def _line(self) -> str:
        start = 0
        while (cut := self._buffer.find(b"\n", start)) < 0:
            self._raise_if_ended()
            start = len(self._buffer)
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        line = bytes(self._buffer[:cut])
        del self._buffer[: cut + 1]
        return line.decode("utf-8", "replace")

    def _raise_if_ended(self) -> None:
        if self._error is not None:
            raise self._error
        if self._end is not None:
            code, tail = self._end["code"], self._end["tail"].strip()
            raise EOFError(f"{self._name} ended with {code}{': ' + tail if tail else ''}")

    # Sink of the channel.

    def data(self, chunk: bytes) -> None:
        self._buffer += chunk
        if len(self._buffer) > MAX_LINE:
            self._buffer.clear()
            self._channel.kill(self._number)
        elif b"\n" in chunk:
            self._wake()

    def end(self, result: dict[str, Any]) -> None:
        self._end = result
        self._wake()

    def lost(self, error: SandboxError) -> None:
        self._error = error
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
