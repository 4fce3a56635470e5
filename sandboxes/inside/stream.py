"""The framed byte stream between a first process and the host: its standard input and output.

Frame: kind (1 byte), number (uint32), payload length (uint32), payload; big-endian.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable
from typing import NoReturn

FRAME = struct.Struct(">cII")
CHUNK = 1 << 16
HIGH = 1 << 20


def reach(door: dict[str, str] | None) -> socket.socket | None:
    """A connection to a socket of the host's, see `door` there; None where there is none."""
    if not door:
        return None
    channel = socket.socket(socket.AF_UNIX)
    try:
        channel.connect(door["path"])
        channel.sendall(door["word"].encode())
    except OSError:
        channel.close()
        return None
    return channel


def join(door: dict[str, str] | None) -> None:
    """Be spoken to over such a connection in the place of standard input and output.

    Those stay open for as long as this process lives: their end tells the host that the engine or
    the container is gone.
    """
    channel = reach(door)
    if channel is not None:
        os.dup(0)
        os.dup(1)
        os.dup2(channel.fileno(), 0)
        os.dup2(channel.fileno(), 1)
        channel.close()


class Stream:
    """Non-blocking: `send` puts into `outbox`, and the loop of the owner flushes and receives.

    Args:
        handle: given kind, number and payload of each frame from the host.
        lost: the host is gone.
    """

    def __init__(
        self, handle: Callable[[bytes, int, bytes], None], lost: Callable[[], NoReturn]
    ) -> None:
        self._handle, self._lost = handle, lost
        self._inbox, self.outbox = bytearray(), bytearray()
        for fd in (0, 1):
            os.set_blocking(fd, False)

    def send(self, kind: bytes, number: int, payload: bytes) -> None:
        self.outbox += FRAME.pack(kind, number, len(payload))
        self.outbox += payload

    def flush(self) -> None:
        while self.outbox:
            try:
                written = os.write(1, self.outbox[:CHUNK])
            except BlockingIOError:
                return
            except OSError:
                self._lost()
            del self.outbox[:written]

    def receive(self) -> None:
        try:
            data = os.read(0, CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lost()
        self._inbox += data
        while len(self._inbox) >= FRAME.size:
            kind, number, length = FRAME.unpack_from(self._inbox)
            if len(self._inbox) < FRAME.size + length:
                return
            payload = bytes(self._inbox[FRAME.size : FRAME.size + length])
            del self._inbox[: FRAME.size + length]
            self._handle(kind, number, payload)
