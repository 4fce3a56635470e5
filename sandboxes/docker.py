"""A sandbox in a Docker container: no network, hard limits, nothing to write but sized tmpfs.

The container's first process is the supervisor (see `inside/supervisor.py`), spoken to over a
socket of its own (see `door.py`), or else over the stream attached to the container: no `docker
exec` per command, which costs 60 ms each. When that connection breaks because the owner died, even
by SIGKILL, the supervisor ends and the engine removes the container by itself.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from agentrl.core import SandboxError
from agentrl.sandboxes.base import SupervisedSandbox
from agentrl.sandboxes.bootstrap import program
from agentrl.sandboxes.channel import Channel
from agentrl.sandboxes.container import START_SECONDS, container_config, launch, remove_own
from agentrl.sandboxes.door import Door
from agentrl.sandboxes.engine import DockerEngine

UID = 1000
HOME = "/home/agent"
MB = 1 << 20
PODMAN_PROCESSES = 1 << 15


@dataclass(frozen=True, slots=True)
class Limits:
    """What a container may use.

    Attributes:
        memory_mb: of all processes and of the files in the writable folders; no swap beyond it.
        work_mb, tmp_mb: size of the working directory; of /tmp and of the home directory each.
        pids: processes and threads.
        cpus: processor time per wall time.
        open_files: per process.
        inodes: files and folders in each writable folder.
    """

    memory_mb: int = 1024
    work_mb: int = 256
    tmp_mb: int = 128
    pids: int = 256
    cpus: float = 1.0
    open_files: int = 4096
    inodes: int = 100_000


class DockerSandbox(SupervisedSandbox):
    """Implements `agentrl.core.Sandbox`; made by `DockerSandbox.create`.

    The agent is uid 1000 without capabilities and cannot gain any; the root file system is
    read-only; work directory, /tmp, the home directory and /dev/shm are tmpfs.
    """

    def __init__(self, engine: DockerEngine, image: str, limits: Limits, workdir: str) -> None:
        super().__init__()
        self.id = ""
        self.image = image
        self.limits = limits
        self.workdir = workdir
        self._engine = engine
        self._volumes = False
        self._remove: Callable[[], object] = lambda: None

    @classmethod
    async def create(
        cls,
        engine: DockerEngine,
        image: str,
        *,
        limits: Limits | None = None,
        workdir: str = "/work",
    ) -> DockerSandbox:
        """Start a container (0.2 to 0.4 s).

        Args:
            image: needs python3 (3.8 or later), tar, find, and bash or sh.

        Raises:
            SandboxError: cause `image_missing`, `docker_refused`, `docker_down` or
                `sandbox_died` (it ended at once; the error says what it printed).
        """
        sandbox = cls(engine, image, limits or Limits(), workdir)
        await sandbox._open()
        return sandbox

    @property
    def _folders(self) -> list[str]:
        return kept_folders(self.workdir)

    async def reset(self) -> None:
        """Exact: where emptying the container in place leaves anything, it is replaced."""
        async with self._turn:
            if self._channel.gone is not None:
                raise self._channel.gone
            if self._volumes or await self._reset_in_place():
                await self.close()
                await self._open()

    async def close(self) -> None:
        self._channel.close()
        await self._engine.call(self._remove)

    async def _open(self) -> None:
        self.id = f"agentrl-{secrets.token_hex(4)}"
        supervisor = supervisor_config(self.workdir, podman=self._engine.podman)
        door = await Door.open() if self._engine.near else None
        self._channel = Channel(self.id)
        supervisor["door"] = door and door.expect(self._channel)
        self._channel.greeting = program(supervisor)
        # Also at interpreter exit, but not in a forked child of the owner.
        self._remove = weakref.finalize(
            self, remove_own, os.getpid(), self._engine, self.id
        )  # fmt: skip
        host = _host_config(self.limits, self.workdir, self._engine.podman)
        try:
            config = container_config(self.image, host)
            await launch(self._engine, self.id, config, self._channel, door)
            described = await self._engine.call(self._described)
            self._volumes = bool(described["Config"].get("Volumes"))
        except BaseException as error:
            await asyncio.shield(self.close())
            if isinstance(error, TimeoutError):
                what = f"its supervisor did not answer within {START_SECONDS:g} s"
                raise SandboxError("sandbox_died", what, where=self.id) from error
            raise
        finally:
            if door is not None:
                await door.close()

    def _described(self) -> dict[str, Any]:
        described: dict[str, Any] = self._engine.api.inspect_image(self.image)
        return described


def kept_folders(workdir: str) -> list[str]:
    """The writable folders that hold files of the agent."""
    return [workdir, HOME, "/tmp", "/dev/shm"]


def supervisor_config(workdir: str, *, podman: bool = False) -> dict[str, Any]:
    """What a supervisor has to know, see `inside/supervisor.py`."""
    # Podman gives a tmpfs no owner, leaves one more folder writable beside a read-only root, and
    # lets anyone have a user namespace.
    mine, more = (0o1777, [["/var/tmp", 0o1777]]) if podman else (0o755, [])
    return {
        "uid": UID,
        "workdir": workdir,
        "env": {"HOME": HOME, "USER": "agent", "LANG": "C.UTF-8", "TMPDIR": "/tmp"},
        "rlimits": {"core": 0},
        "filter": podman,
        "writable": [
            [workdir, mine],
            [HOME, mine],
            ["/tmp", 0o1777],
            ["/dev/shm", 0o1777],
            ["/dev/mqueue", 0o1777],
            *more,
        ],
    }


def writable_folders(limits: Limits, workdir: str, *, podman: bool = False) -> dict[str, str]:
    """Options of the tmpfs at each.

    Podman takes neither a number of inodes (they count as memory all the same) nor an owner.
    """

    def tmpfs(size_mb: int, mode: str) -> str:
        if podman:
            return f"size={size_mb}m"
        return f"size={size_mb}m,nr_inodes={limits.inodes},{mode}"

    mine = f"mode=0755,uid={UID},gid={UID}"
    return {
        workdir: tmpfs(limits.work_mb, mine),
        HOME: tmpfs(limits.tmp_mb, mine),
        "/tmp": tmpfs(limits.tmp_mb, "mode=1777"),
    }


def ulimits(limits: Limits, *, podman: bool) -> list[dict[str, Any]]:
    values = {"core": 0, "nofile": limits.open_files}
    if podman:
        # It would ask for more than many hosts allow; what limits a container is PidsLimit.
        values["nproc"] = PODMAN_PROCESSES
    return [{"Name": name, "Soft": value, "Hard": value} for name, value in values.items()]


def _host_config(limits: Limits, workdir: str, podman: bool) -> dict[str, Any]:
    memory = limits.memory_mb * MB
    return {
        "AutoRemove": True,
        "NetworkMode": "none",
        "ReadonlyRootfs": True,
        "CapDrop": ["ALL"],
        # For the supervisor only: to become the agent and to kill it. Children lose them with
        # uid 0, and no-new-privileges keeps them from coming back.
        "CapAdd": ["SETUID", "SETGID", "KILL"],
        "SecurityOpt": ["no-new-privileges"],
        "Memory": memory,
        "MemorySwap": memory,
        "PidsLimit": limits.pids,
        "NanoCpus": int(limits.cpus * 1e9),
        "ShmSize": 64 * MB,
        "Ulimits": ulimits(limits, podman=podman),
        "Tmpfs": {
            path: f"rw,exec,nosuid,nodev,{options}"
            for path, options in writable_folders(limits, workdir, podman=podman).items()
        },
        "IpcMode": "private",
        # Output of the agent must not fill the host's disk.
        "LogConfig": {"Type": "none"},
    }
