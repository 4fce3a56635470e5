"""What the supervisor knows of one thing it runs."""

from __future__ import annotations

import json
import os
import time
from typing import Any

CHUNK = 1 << 16
# What a command prints in its first moment goes with its end if that is near: one message, and two
# processes that need not wake up for the other.
UNHEARD_SECONDS = 0.001


class Job:
    """One command, file operation or kept program."""

    def __init__(self, number: int, spec: dict[str, Any]) -> None:
        self.number = number
        self.pid = 0
        self.out = self.err = self.stdin = -1
        self.pending = bytearray()
        self.stdin_ended = False
        self.started = time.monotonic()
        timeout = spec.get("timeout")
        self.deadline = None if timeout is None else self.started + timeout
        self.heard_from = self.started + UNHEARD_SECONDS if spec["op"] == "shell" else 0.0
        self.limit = spec.get("limit")
        self.sent = 0
        self.code: int | None = None
        self.timed_out = self.truncated = False
        self.tail = b""

    def feed(self) -> None:
        """Write what waits for its stdin."""
        while self.pending:
            try:
                written = os.write(self.stdin, self.pending[:CHUNK])
            except BlockingIOError:
                return
            except OSError:
                written = len(self.pending)
                self.stdin_ended = True
            del self.pending[:written]
        if self.stdin_ended:
            os.close(self.stdin)
            self.stdin = -1

    def read_errors(self) -> bool:
        """Keep the end of stderr; False when there is none now."""
        try:
            data = os.read(self.err, CHUNK)
        except BlockingIOError:
            return False
        if not data:
            os.close(self.err)
            self.err = -1
        self.tail = (self.tail + data)[-4096:]
        return bool(data)

    def result(self) -> bytes:
        fields = {
            "code": 124 if self.timed_out else self.code,
            "timed_out": self.timed_out,
            "truncated": self.truncated,
            "seconds": time.monotonic() - self.started,
            "tail": self.tail.decode("utf-8", "replace"),
        }
        return json.dumps(fields).encode()
