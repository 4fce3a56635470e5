"""A socket through which a container's first process reaches the host, without the engine's relays.

The engine's attached stream passes two programs each way, the shim and the engine, which is most of
what a short command costs. Where the engine is on this machine, a folder with one listening socket
is mounted into the container, read-only. The first process connects before any code of the agent
exists, and says the word it was told over the attached stream; where it cannot connect (an engine
in another machine or file system), it stays with the attached stream.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import socket
import tempfile
from pathlib import Path
from typing import Any

from agentrl.sandboxes.channel import Channel

INSIDE = "/run/agentrl-door"
WORD_BYTES = 32
LONGEST_PATH = 100


class Door:
    """One folder of the host, which only its owner can enter, with one socket in it.

    Anybody may connect who sees the socket: who sees it is what isolates. For a container of one
    agent it is closed as soon as the first process is through; for a hive it stays, and cells cover
    the folder before they run anything.
    """

    def __init__(self) -> None:
        self._above = Path(tempfile.mkdtemp(prefix="agentrl-door-"))
        self.folder = self._above / "door"
        self._expected: dict[bytes, Channel] = {}
        self._server: asyncio.Server | None = None

    @classmethod
    async def open(cls) -> Door | None:
        """None where there can be none."""
        try:
            door = cls()
        except OSError:
            return None
        path = str(door.folder / "socket")
        try:
            door.folder.mkdir(mode=0o755)
            if len(path) > LONGEST_PATH:
                raise OSError("the path is too long for a socket")
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(path)
            # The container's root has no capability to pass over modes, and may not be ours.
            os.chmod(path, 0o666)
            loop = asyncio.get_running_loop()
            door._server = await loop.create_unix_server(lambda: _Caller(door), sock=listener)
        except OSError:
            await door.close()
            return None
        return door

    @property
    def mount(self) -> dict[str, Any]:
        """For the API. As a mount and not a bind: a missing folder is refused, not made."""
        return {"Type": "bind", "Source": str(self.folder), "Target": INSIDE, "ReadOnly": True}

    def expect(self, channel: Channel) -> dict[str, str]:
        """What to tell a first process, for `inside.stream.join`; its connection becomes the
        channel's."""
        word = secrets.token_hex(WORD_BYTES // 2)
        self._expected[word.encode()] = channel
        return {"path": f"{INSIDE}/socket", "word": word}

    def let_in(self, word: bytes) -> Channel | None:
        return self._expected.pop(word, None)

    async def close(self) -> None:
        """Who is through stays; in the container the folder becomes an empty one of nowhere."""
        if self._server is not None:
            self._server.close()
        with contextlib.suppress(OSError):
            shutil.rmtree(self._above)


class _Caller(asyncio.Protocol):
    """A connection that has not said its word yet."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._said = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._said += data
        if len(self._said) < WORD_BYTES:
            return
        channel = self._door.let_in(self._said[:WORD_BYTES])
        if channel is None:
            self._transport.close()
            return
        self._transport.set_protocol(channel)
        channel.connection_made(self._transport)
        channel.data_received(self._said[WORD_BYTES:])
