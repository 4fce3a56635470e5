"""A sandbox in name only: commands run as plain processes of the host, isolated by NOTHING.

They see all files, the network and other processes with the rights of whoever runs the training.
For trusted code, for teaching, and for machines without Docker; never for what a model writes
unless the whole machine is expendable.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from agentrl.core import SandboxError
from agentrl.sandboxes.base import SupervisedSandbox
from agentrl.sandboxes.bootstrap import INTERPRETER_OPTIONS, program
from agentrl.sandboxes.channel import Channel

START_SECONDS = 30.0
GB = 1 << 30
RLIMITS = {"core": 0, "fsize": 2 * GB, "as": 8 * GB}
PASSED_ON = ("PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "VIRTUAL_ENV")


class ProcessSandbox(SupervisedSandbox):
    """Implements `agentrl.core.Sandbox` with a temporary folder, resource limits and process
    groups; it isolates nothing. Made by `ProcessSandbox.create`. Linux only.

    The same supervisor as in a container runs as a child process: deadlines and output limits
    hold, everything started is ended, and the folder is removed, also when the owner is killed.
    """

    def __init__(self) -> None:
        super().__init__()
        self._home = Path(tempfile.mkdtemp(prefix="agentrl-process-"))
        self.id = self._home.name
        self.workdir = str(self._home / "work")
        self.pythons = frozenset({"python3", sys.executable})
        self._supervisor: subprocess.Popen[bytes] | None = None

    @classmethod
    async def create(cls) -> ProcessSandbox:
        """Raises SandboxError: cause `sandbox_died` when it cannot start."""
        if sys.platform != "linux":
            raise SandboxError(
                "sandbox_died", "ProcessSandbox needs Linux (/proc)", fix="use Docker"
            )
        sandbox = cls()
        try:
            await sandbox._open()
        except BaseException:
            await sandbox.close()
            raise
        return sandbox

    @property
    def _folders(self) -> list[str]:
        return [str(self._home / name) for name in ("work", "home", "tmp")]

    async def reset(self) -> None:
        async with self._turn:
            left = await self._reset_in_place()
            if left:
                self._channel.lose(f"it could not be reset: {left}")
                assert self._channel.gone is not None
                raise self._channel.gone

    async def close(self) -> None:
        if self._supervisor is not None:
            self._channel.close()
            await asyncio.to_thread(self._supervisor.wait)
        shutil.rmtree(self._home, ignore_errors=True)

    async def _open(self) -> None:
        folders = [self._home / name for name in ("work", "tmp", "home")]
        for folder in folders:
            folder.mkdir(mode=0o755)
        work, tmp, home = map(str, folders)
        config = {
            "uid": None,
            "workdir": work,
            "env": {"HOME": home, "TMPDIR": tmp, "LANG": "C.UTF-8"},
            "rlimits": RLIMITS,
            "writable": [[work, 0o755], [tmp, 0o755], [home, 0o755]],
            "home": str(self._home),
        }
        ours, theirs = socket.socketpair()
        environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        # `python3` inside is ours, which has pytest, as in the image.
        paths = (os.path.dirname(sys.executable), environment.get("PATH", os.defpath))
        environment["PATH"] = os.pathsep.join(paths)
        self._supervisor = subprocess.Popen(
            [sys.executable, *INTERPRETER_OPTIONS],
            stdin=theirs.fileno(),
            stdout=theirs.fileno(),
            cwd=work,
            env=environment,
            start_new_session=True,
        )
        theirs.close()
        ours.setblocking(False)
        self._channel = Channel(self.id, program(config))
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: self._channel, sock=ours)
        async with asyncio.timeout(START_SECONDS):
            await self._channel.ready
