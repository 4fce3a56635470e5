"""The host's end of the byte stream to a sandbox's supervisor."""

from __future__ import annotations

import asyncio
import itertools
import json
import struct
from collections.abc import Callable
from typing import Any, Protocol

from agentrl.core import SandboxError

FRAME = struct.Struct(">cII")
CHUNK = 1 << 18


class Sink(Protocol):
    """Where the output of a job goes."""

    def data(self, chunk: bytes) -> None: ...

    def end(self, result: dict[str, Any]) -> None: ...

    def lost(self, error: SandboxError) -> None: ...


class Collected:
    """Output gathered in memory (its size is limited by the job's own limit)."""

    __slots__ = ("chunks", "done")

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.done: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()

    def data(self, chunk: bytes) -> None:
        self.chunks.append(chunk)

    def end(self, result: dict[str, Any]) -> None:
        if not self.done.done():
            self.done.set_result(result)

    def lost(self, error: SandboxError) -> None:
        if not self.done.done():
            self.done.set_exception(error)
            # A task that was cancelled meanwhile never looks at it.
            self.done.exception()


class Written(Collected):
    """Output handed on chunk by chunk to a file; the first failure to write it is kept."""

    __slots__ = ("_write", "error")

    def __init__(self, write: Callable[[bytes], object]) -> None:
        super().__init__()
        self._write = write
        self.error: OSError | None = None

    def data(self, chunk: bytes) -> None:
        if self.error is None:
            try:
                self._write(chunk)
            except OSError as error:
                self.error = error


class Channel(asyncio.Protocol):
    """Frames in both directions; one per sandbox, no task and no thread of its own.

    It may be given a second, shorter connection while nothing but the start is under way.

    Args:
        where: the name of the sandbox, for errors.
        greeting: sent first (the supervisor's program).
    """

    def __init__(self, where: str, greeting: bytes = b"") -> None:
        loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[dict[str, Any]] = loop.create_future()
        self.gone: SandboxError | None = None
        self.said = ""
        """The end of what its first process wrote to stderr."""
        self._where = where
        self.greeting = greeting
        self._frames = bytearray()
        self._sinks: dict[int, Sink] = {}
        self._numbers = itertools.count(1)
        self._transport: asyncio.Transport | None = None
        self._replaced: asyncio.Transport | None = None
        self._resumed: asyncio.Future[None] | None = None

    # Sending.

    def open(self, kind: bytes, spec: dict[str, Any], sink: Sink) -> int:
        """Start a job; its output and end go to the sink. Raises SandboxError when gone."""
        number = next(self._numbers)
        self.send(kind, number, json.dumps(spec).encode())
        self._sinks[number] = sink
        return number

    def send(self, kind: bytes, number: int, payload: bytes = b"") -> None:
        if self.gone is not None or self._transport is None:
            raise self.gone or SandboxError("sandbox_died", "not connected", where=self._where)
        self._transport.write(FRAME.pack(kind, number, len(payload)) + payload)

    async def send_all(self, number: int, data: Callable[[int], bytes]) -> None:
        """Stream stdin of a job from a reader such as `file.read`, with back-pressure."""
        while chunk := data(CHUNK):
            self.send(b"D", number, chunk)
            if self._resumed is not None:
                await asyncio.shield(self._resumed)
        self.send(b"E", number)

    def kill(self, number: int) -> None:
        """End a job; its sink still gets the end."""
        if self.gone is None and number in self._sinks:
            self.send(b"K", number)

    def forget(self, number: int) -> None:
        """Drop what still comes of a job."""
        self._sinks.pop(number, None)

    def end_all(self, why: str) -> None:
        """Tell every job under way that it was ended, as a supervisor that resets does."""
        sinks, self._sinks = self._sinks, {}
        for sink in sinks.values():
            sink.end(
                {"code": 137, "timed_out": False, "truncated": False, "seconds": 0.0, "tail": why}
            )

    def close(self) -> None:
        for transport in (self._transport, self._replaced):
            if transport is not None:
                transport.close()
        self.lose("it was closed", "sandbox_closed")

    def uses(self, transport: asyncio.Transport) -> bool:
        """Whether that one is the connection in use."""
        return self._transport is transport

    def lose(self, what: str, cause: str = "sandbox_died") -> None:
        """Fail everything under way and everything to come."""
        if self.gone is not None:
            return
        self.gone = SandboxError(cause, f"the sandbox is gone: {what}", where=self._where)
        if not self.ready.done():
            self.ready.set_exception(self.gone)
            self.ready.exception()
        if self._resumed is not None and not self._resumed.done():
            self._resumed.set_result(None)
        sinks, self._sinks = self._sinks, {}
        for sink in sinks.values():
            sink.lost(self.gone)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        if self.gone is not None:
            transport.close()
            return
        self._replaced, self._transport = self._transport, transport
        if self._replaced is None:
            transport.write(self.greeting)
        self.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lose(self.said or "its first process ended (killed, out of memory, or removed)")

    def pause_writing(self) -> None:
        self._resumed = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        if self._resumed is not None and not self._resumed.done():
            self._resumed.set_result(None)
        self._resumed = None

    def data_received(self, data: bytes) -> None:
        self._frames += data
        start = 0
        while len(self._frames) - start >= FRAME.size:
            kind, number, length = FRAME.unpack_from(self._frames, start)
            end = start + FRAME.size + length
            if len(self._frames) < end:
                break
            payload = bytes(self._frames[start + FRAME.size : end])
            start = end
            self.frame(kind, number, payload)
        del self._frames[:start]

    def frame(self, kind: bytes, number: int, payload: bytes) -> None:
        if kind == b"O" and number in self._sinks:
            self._sinks[number].data(payload)
        elif kind == b"X" and number in self._sinks:
            self._sinks.pop(number).end(json.loads(payload))
        elif kind == b"S" and not self.ready.done():
            self.ready.set_result(json.loads(payload))
