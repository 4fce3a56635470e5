"""Many sandboxes in one container, each made in milliseconds and used once.

See `inside/hive.py` for what a cell is. The container of a hive has the capabilities to make them
(SYS_ADMIN, NET_ADMIN, SETPCAP beside those of the supervisor); it runs no code of any agent. A
cell gives them up before it listens, and cannot get them back: no new privileges, an emptied
bounding set, and a filter for the system calls that would need them.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import weakref
from collections.abc import Callable
from typing import Any

from agentrl.core import SandboxError
from agentrl.sandboxes.base import SupervisedSandbox
from agentrl.sandboxes.bootstrap import HIVE_MODULES, READ_PROGRAM, program
from agentrl.sandboxes.channel import FRAME, Channel
from agentrl.sandboxes.container import START_SECONDS, container_config, launch, remove_own
from agentrl.sandboxes.docker import (
    MB,
    Limits,
    kept_folders,
    supervisor_config,
    ulimits,
    writable_folders,
)
from agentrl.sandboxes.door import INSIDE, Door
from agentrl.sandboxes.engine import DockerEngine

GROUPS = "/run/agentrl"
CAPABILITIES = ["SETUID", "SETGID", "KILL", "SYS_ADMIN", "NET_ADMIN", "SETPCAP"]


class Hive:
    """A container that makes cells; made by `Hive.create`, shared by many episodes."""

    def __init__(self, engine: DockerEngine, image: str, limits: Limits, workdir: str) -> None:
        self.id = f"agentrl-hive-{secrets.token_hex(4)}"
        self.image, self.limits, self.workdir = image, limits, workdir
        self._engine = engine
        self._numbers = 0
        self._link: _Link
        self._door: Door | None = None
        self._remove: Callable[[], object] = lambda: None

    @classmethod
    async def create(
        cls,
        engine: DockerEngine,
        image: str,
        *,
        limits: Limits | None = None,
        workdir: str = "/work",
        preload: str = "",
    ) -> Hive:
        """Start one.

        Args:
            limits: of each cell.
            preload: see `agentrl.core.WarmPython`; done once for all cells.

        Raises:
            SandboxError: `hive_refused` where the engine or the kernel does not allow what it
                needs (use containers then), or as `DockerSandbox.create`.
        """
        hive = cls(engine, image, limits or Limits(), workdir)
        await hive._open(preload)
        return hive

    @property
    def gone(self) -> SandboxError | None:
        return self._link.gone

    async def cell(self) -> Cell:
        """A sandbox that nobody has used. Raises SandboxError."""
        if self.gone is not None:
            raise self.gone
        self._numbers += 1
        cell = Cell(self, self._numbers)
        await cell.open()
        return cell

    async def close(self) -> None:
        self._link.close()
        if self._door is not None:
            await self._door.close()
        await self._engine.call(self._remove)

    def spec(self, channel: Channel) -> dict[str, Any]:
        """What the nursery has to know of a cell."""
        limits = self.limits
        mounts = [*writable_folders(limits, self.workdir).items()]
        mounts.append(("/dev/shm", f"size=64m,nr_inodes={limits.inodes},mode=1777"))
        return {
            "config": {**supervisor_config(self.workdir), "boot": READ_PROGRAM},
            "mounts": mounts,
            # Podman makes /var/tmp writable: what one cell left there the next would find.
            "hidden": [GROUPS, INSIDE, "/sys/fs/cgroup", "/var/tmp"],
            "door": self._door and self._door.expect(channel),
            "limits": {
                "memory": limits.memory_mb * MB,
                "pids": limits.pids,
                "cpu": int(limits.cpus * 100_000),
            },
        }

    async def _open(self, preload: str) -> None:
        config = {**supervisor_config(self.workdir), "groups": GROUPS, "preload": preload}
        self._door = await Door.open() if self._engine.near else None
        self._link = _Link(self.id)
        config["door"] = self._door and self._door.expect(self._link)
        self._link.greeting = program(config, HIVE_MODULES)
        self._remove = weakref.finalize(
            self, remove_own, os.getpid(), self._engine, self.id
        )  # fmt: skip
        asked = container_config(self.image, self._host_config())
        try:
            await launch(self._engine, self.id, asked, self._link, self._door)
            await (await self.cell()).close()
        except BaseException as error:
            await asyncio.shield(self.close())
            if isinstance(error, TimeoutError) or getattr(error, "cause", "") == "sandbox_died":
                what = f"it cannot make cells here: {self._link.said or error}"
                raise SandboxError("hive_refused", what, where=self.id) from error
            raise

    def _host_config(self) -> dict[str, Any]:
        tiny = "rw,noexec,nosuid,nodev,size=64k"
        folders = [*writable_folders(self.limits, self.workdir), GROUPS]
        return {
            "AutoRemove": True,
            "NetworkMode": "none",
            "ReadonlyRootfs": True,
            "CapDrop": ["ALL"],
            "CapAdd": CAPABILITIES,
            "SecurityOpt": ["no-new-privileges"],
            # Its own view of the control groups: what it mounts is only what is below it.
            "CgroupnsMode": "private",
            "Ulimits": ulimits(self.limits, podman=self._engine.podman),
            "Tmpfs": dict.fromkeys(folders, tiny),
            "IpcMode": "private",
            "LogConfig": {"Type": "none"},
        }


class Cell(SupervisedSandbox):
    """Implements `agentrl.core.Sandbox`; made by `Hive.cell`. `reset` makes it anew."""

    single_use = True

    def __init__(self, hive: Hive, number: int) -> None:
        super().__init__()
        self.id = f"{hive.id}/{number}"
        self.workdir = hive.workdir
        self._hive, self._number = hive, number

    async def open(self) -> None:
        link = self._hive._link
        self._channel = Channel(self.id)
        link.add(self._number, self._channel, self._hive.spec(self._channel))
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._channel.ready
        except BaseException as error:
            await self.close()
            if isinstance(error, TimeoutError):
                what = f"its supervisor did not answer within {START_SECONDS:g} s"
                raise SandboxError("sandbox_died", what, where=self.id) from error
            raise

    @property
    def _folders(self) -> list[str]:
        return kept_folders(self.workdir)

    async def reset(self) -> None:
        async with self._turn:
            if self._channel.gone is not None:
                raise self._channel.gone
            self._channel.end_all("the sandbox was reset")
            await self.close()
            self._hive._numbers += 1
            self._number = self._hive._numbers
            await self.open()

    async def close(self) -> None:
        self._channel.close()


class _Link(Channel):
    """The stream to a hive: frames that carry the bytes of cells."""

    def __init__(self, where: str) -> None:
        super().__init__(where)
        self._cells: dict[int, Channel] = {}

    def add(self, number: int, channel: Channel, spec: dict[str, Any]) -> None:
        self.send(b"N", number, json.dumps(spec).encode())
        self._cells[number] = channel
        channel.connection_made(_CellTransport(self, number))

    def write(self, number: int, data: bytes) -> None:
        if self.gone is None and self._transport is not None and number in self._cells:
            self._transport.write(FRAME.pack(b"C", number, len(data)) + data)

    def end(self, number: int) -> None:
        if self._cells.pop(number, None) is not None and self.gone is None:
            self.send(b"Q", number)

    def frame(self, kind: bytes, number: int, payload: bytes) -> None:
        if kind == b"C" and number in self._cells:
            self._cells[number].data_received(payload)
        elif kind == b"G" and number in self._cells:
            self._cells.pop(number).lose(payload.decode("utf-8", "replace"))
        elif kind == b"S":
            super().frame(kind, number, payload)

    def lose(self, what: str, cause: str = "sandbox_died") -> None:
        super().lose(what, cause)
        cells, self._cells = self._cells, {}
        for channel in cells.values():
            channel.lose(f"its hive is gone: {what}")

    def pause_writing(self) -> None:
        super().pause_writing()
        for channel in self._cells.values():
            channel.pause_writing()

    def resume_writing(self) -> None:
        super().resume_writing()
        for channel in self._cells.values():
            channel.resume_writing()


class _CellTransport(asyncio.Transport):
    """What a cell's channel writes to."""

    def __init__(self, link: _Link, number: int) -> None:
        super().__init__()
        self._link, self._number = link, number

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._link.write(self._number, bytes(data))

    def is_closing(self) -> bool:
        return self._link.gone is not None

    def close(self) -> None:
        self._link.end(self._number)
