"""The stream that a container engine attaches to a container's first process."""

from __future__ import annotations

import asyncio
import struct

from agentrl.sandboxes.channel import Channel

HEADER = struct.Struct(">BxxxI")
STDOUT = 1
SAID = 2000


class Attached(asyncio.Protocol):
    """Takes the engine's headers off: stdout goes to the channel, the end of stderr is kept.

    It is the channel's connection until the channel has a shorter one (see `door`). When it ends,
    the container is gone, or its engine: then the sandbox is lost, whatever still answers.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._raw = bytearray()
        self._stderr = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._channel.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._channel.connection_lost(exc)

    def pause_writing(self) -> None:
        if self._channel.uses(self._transport):
            self._channel.pause_writing()

    def resume_writing(self) -> None:
        if self._channel.uses(self._transport):
            self._channel.resume_writing()

    def data_received(self, data: bytes) -> None:
        self._raw += data
        start = 0
        out = b""
        while len(self._raw) - start >= HEADER.size:
            stream, length = HEADER.unpack_from(self._raw, start)
            end = start + HEADER.size + length
            if len(self._raw) < end:
                break
            part = bytes(self._raw[start + HEADER.size : end])
            if stream == STDOUT:
                out += part
            else:
                self._stderr = (self._stderr + part)[-SAID:]
                self._channel.said = self._stderr.decode("utf-8", "replace").strip()
            start = end
        del self._raw[:start]
        if out:
            self._channel.data_received(out)
