"""The first process of a hive: a container in which many sandboxes ("cells") are made and ended.

A cell is what a container is to the kernel: its own processes, mounts, network, IPC objects and
host name, and its own control groups; but it is a fork of a Python that waits in the hive, which
costs a twentieth of starting a container. Its first process is the same supervisor.

Three parties, so that no cell ever inherits what another one did: this process relays the bytes of
cells that have no connection of their own to the host, and may have seen them; the nursery
(`nursery.py`) has seen nobody's and makes the cells; the cells.

Frames: see `stream.py`. From the host: N new cell (JSON), C bytes for a cell, Q end a cell.
To the host: S started, C bytes of a cell, G a cell is gone. The number is the cell's.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import signal
import socket
from typing import Any, NoReturn

from agentrl.sandboxes.inside import cgroups
from agentrl.sandboxes.inside.stream import CHUNK, HIGH, Stream, join, reach
from agentrl.sandboxes.inside.zygote import Zygote


class Cell:
    """`channel` is None where its bytes need no relay."""

    def __init__(self, pid: int, channel: socket.socket | None, groups: list[str]) -> None:
        self.pid, self.channel, self.groups = pid, channel, groups
        self.pending = bytearray()


class Hive:
    """Single-threaded: one poll loop over the channel and those of the cells."""

    def __init__(self, config: dict[str, Any]) -> None:
        for name in ("INT", "TERM", "HUP"):
            signal.signal(getattr(signal, "SIG" + name), signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.wake, writer = os.pipe()
        for fd in (self.wake, writer):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        os.umask(0o022)
        self.groups = cgroups.Groups(config["groups"])
        self.nursery = Zygote(config, dict(os.environ), "nursery")
        self.nursery.spawn()
        self.cells: dict[int, Cell] = {}
        self.ending: list[str] = []
        self.stream = Stream(self.handle, lambda: os._exit(0))

    def serve(self) -> NoReturn:
        # The first answer also says that the nursery has imported what it should.
        self.nursery.ask({})
        self.stream.send(b"S", 0, b"{}")
        while True:
            self.turn(self.watch())

    def watch(self) -> set[int]:
        poll = select.poll()
        poll.register(self.wake, select.POLLIN)
        if all(len(cell.pending) < HIGH for cell in self.cells.values()):
            poll.register(0, select.POLLIN)
        if self.stream.outbox:
            poll.register(1, select.POLLOUT)
        for cell in self.cells.values():
            if cell.channel is None:
                continue
            events = select.POLLIN if len(self.stream.outbox) < HIGH else 0
            poll.register(cell.channel, events | (select.POLLOUT if cell.pending else 0))
        return {fd for fd, _ in poll.poll(100 if self.ending else None)}

    def turn(self, ready: set[int]) -> None:
        if 0 in ready:
            self.stream.receive()
        for number, cell in list(self.cells.items()):
            if cell.channel is not None and cell.channel.fileno() in ready:
                self.feed(cell)
                self.pump(number, cell)
        if self.wake in ready:
            os.read(self.wake, 4096)
        self.reap()
        self.ending = [path for path in self.ending if not cgroups.removed(path)]
        self.stream.flush()

    def handle(self, kind: bytes, number: int, payload: bytes) -> None:
        cell = self.cells.get(number)
        if kind == b"N":
            self.make(number, json.loads(payload))
        elif cell is not None and kind == b"Q":
            self.remove(number, cell)
        elif cell is not None:
            cell.pending += payload
            self.feed(cell)

    def make(self, number: int, spec: dict[str, Any]) -> None:
        direct = reach(spec.pop("door"))
        ours, theirs = (None, direct) if direct else socket.socketpair()
        groups: list[str] = []
        try:
            groups = self.groups.make(f"cell-{number}", spec["limits"])
            spec = {**spec, "groups": groups}
            pid = self.nursery.ask(spec, (theirs.fileno(),) * 3)
        except OSError as error:
            self.ending += groups
            if ours is not None:
                ours.close()
            self.stream.send(b"G", number, str(error).encode())
            return
        finally:
            theirs.close()
        if ours is not None:
            ours.setblocking(False)
        self.cells[number] = Cell(pid, ours, groups)

    def feed(self, cell: Cell) -> None:
        while cell.pending and cell.channel is not None:
            try:
                sent = cell.channel.send(cell.pending[:CHUNK])
            except BlockingIOError:
                return
            except OSError:
                sent = len(cell.pending)
            del cell.pending[:sent]

    def pump(self, number: int, cell: Cell) -> None:
        assert cell.channel is not None
        data = _read(cell.channel.fileno())
        if data:
            self.stream.send(b"C", number, data)
        elif data is not None:
            self.remove(number, cell)

    def remove(self, number: int, cell: Cell) -> None:
        """Ending a cell's first process ends all of it, its mounts and its network."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(cell.pid, signal.SIGKILL)
        if cell.channel is not None:
            cell.channel.close()
        del self.cells[number]
        self.ending += cell.groups
        self.stream.send(
            b"G", number, b"its first process ended (killed, out of memory, or removed)"
        )

    def reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, _ = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                for number, cell in list(self.cells.items()):
                    if cell.pid == pid:
                        self.pump_rest(number, cell)
                        self.remove(number, cell)
                if pid == self.nursery.pid:
                    # Without it nothing can be made any more: the host takes another hive.
                    os._exit(1)

    def pump_rest(self, number: int, cell: Cell) -> None:
        while cell.channel is not None and (data := _read(cell.channel.fileno())):
            self.stream.send(b"C", number, data)


def _read(fd: int) -> bytes | None:
    """What there is, None when there is nothing now, b"" at the end."""
    try:
        return os.read(fd, 4 * CHUNK)
    except BlockingIOError:
        return None
    except OSError as error:
        if error.errno in (errno.ECONNRESET, errno.EBADF, errno.EIO):
            return b""
        raise


def main(config: dict[str, Any]) -> NoReturn:
    join(config.get("door"))
    Hive(config).serve()
