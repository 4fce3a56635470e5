"""What every sandbox with a supervisor inside can do, whatever it is made of."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import posixpath
import re
import shlex
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

from agentrl.core import ExecResult, FileSnapshot, NoSnapshot, SandboxError
from agentrl.sandboxes import archive
from agentrl.sandboxes.channel import Channel, Collected, Written
from agentrl.sandboxes.program import Program

GRACE_SECONDS = 15.0
FILE_SECONDS = 60.0
COPY_SECONDS = 600.0
SPOOL_BYTES = 32 << 20
SNAPSHOT_BYTES = 256 << 20
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


class SupervisedSandbox:
    """The operations of `agentrl.core.Sandbox` over a channel; subclasses make and end it.

    Concurrent calls are safe: `exec` calls run one after the other, file operations and kept
    programs beside them.
    """

    id: str
    workdir: str
    single_use = False
    pythons: frozenset[str] = frozenset({"python3"})
    _channel: Channel

    @property
    def _folders(self) -> Sequence[str]:
        """The writable folders that a snapshot keeps."""
        raise NotImplementedError

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    async def exec(
        self,
        command: str,
        *,
        timeout: float = 60.0,
        max_output: int = 1 << 20,
        cwd: str | None = None,
        env: dict[str, str] | None = None,
    ) -> ExecResult:
        sink = Collected()
        result = await self._command(command, sink, timeout, max_output, cwd, env)
        result.output = b"".join(sink.chunks).decode("utf-8", "replace")
        return result

    async def stream(
        self,
        command: str,
        on_output: Callable[[bytes], object],
        *,
        timeout: float = 60.0,
        max_output: int = 1 << 20,
        cwd: str | None = None,
        env: dict[str, str] | None = None,
    ) -> ExecResult:
        """As `exec`, but the output is handed on piece by piece as it comes; the result has none.

        Args:
            on_output: must not block. An OSError that it raises is raised here at the end.
        """
        sink = Written(on_output)
        result = await self._command(command, sink, timeout, max_output, cwd, env)
        if sink.error is not None:
            raise sink.error
        return result

    async def _command(
        self,
        command: str,
        sink: Collected,
        timeout: float,
        max_output: int,
        cwd: str | None,
        env: dict[str, str] | None,
    ) -> ExecResult:
        text = script(command, None if cwd is None else self.path(cwd), env or {})
        spec = {"op": "shell", "command": text, "timeout": timeout, "limit": max_output}
        async with self._turn:
            result = await self._finished(sink, self._channel.open(b"R", spec, sink), timeout)
        return ExecResult(
            output="",
            exit_code=result["code"],
            timed_out=result["timed_out"],
            truncated=result["truncated"],
            seconds=result["seconds"],
        )

    async def start(self, argv: list[str], *, cwd: str | None = None) -> Program:
        program = Program(self._channel, argv)
        program.begin({"op": "program", "argv": argv, "cwd": self.path(cwd or ".")})
        return program

    async def start_python(
        self, source: str, *, preload: str = "", cwd: str | None = None
    ) -> Program:
        """See `agentrl.core.WarmPython`."""
        program = Program(self._channel, ["python3"])
        spec = {"op": "python", "source": source, "preload": preload, "cwd": self.path(cwd or ".")}
        program.begin(spec)
        return program

    async def read(self, path: str, *, max_bytes: int = 8 << 20) -> bytes:
        """Raises OSError of the kind that fits; EFBIG when it is larger than `max_bytes`."""
        sink = Collected()
        result = await self._file("read", path, sink, limit=max_bytes)
        if result["truncated"]:
            raise OSError(errno.EFBIG, f"larger than {max_bytes} bytes", path)
        return b"".join(sink.chunks)

    async def write(self, path: str, data: bytes | str) -> None:
        """Raises OSError of the kind that fits, ENOSPC when the sandbox is full."""
        view = memoryview(data.encode() if isinstance(data, str) else data)
        position = 0

        def take(size: int) -> bytes:
            nonlocal position
            position += size
            return bytes(view[position - size : position])

        await self._file("write", path, Collected(), stdin=take)

    async def copy_in(self, source: Path, target: str) -> None:
        target = self.path(target)
        folder = target if source.is_dir() else posixpath.dirname(target)
        with tempfile.SpooledTemporaryFile(SPOOL_BYTES) as spool:
            name = posixpath.basename(target)
            await asyncio.to_thread(archive.pack, Path(source), name, spool)
            spool.seek(0)
            await self._file("unpack", folder, Collected(), stdin=spool.read, timeout=COPY_SECONDS)

    async def copy_out(self, source: str, target: Path) -> None:
        """Raises OSError: no such file, or more than the limits of `archive` (EFBIG)."""
        with tempfile.SpooledTemporaryFile(SPOOL_BYTES) as spool:
            limit = archive.MAX_BYTES + (64 << 20)
            result = await self._file(
                "pack", source, Written(spool.write), limit=limit, timeout=COPY_SECONDS
            )
            if result["truncated"]:
                raise OSError(errno.EFBIG, f"more than {archive.MAX_BYTES} bytes", source)
            spool.seek(0)
            await asyncio.to_thread(_unpack, spool, Path(target))

    async def snapshot(self) -> FileSnapshot:
        """The files of all writable folders: contents, modes, links, times to the nanosecond.

        Inode numbers, extended attributes and sockets are not kept. Raises NoSnapshot: the
        agent's programs are running, a file cannot be read by it, or SNAPSHOT_BYTES are not enough.
        """
        async with self._turn:
            sink = Collected()
            answer = await self._finished(sink, self._channel.open(b"L", {}, sink), FILE_SECONDS)
            if answer["tail"]:
                raise NoSnapshot(f"more than files would be lost: {answer['tail']}", where=self.id)
            kept: list[bytes] = []
            for folder in self._folders:
                kept.append(await self._keep(folder, SNAPSHOT_BYTES - sum(map(len, kept))))
        return FileSnapshot(tuple(kept))

    async def _keep(self, folder: str, limit: int) -> bytes:
        sink = Collected()
        try:
            result = await self._file("keep", folder, sink, limit=limit, timeout=COPY_SECONDS)
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise NoSnapshot(f"{folder} cannot be kept: {error}", where=self.id) from error
        if result["truncated"]:
            raise NoSnapshot(f"more than {SNAPSHOT_BYTES} bytes", where=self.id)
        return b"".join(sink.chunks)

    async def restore(self, snapshot: FileSnapshot) -> None:
        """Back to a snapshot of this sandbox or of another one with the same folders.

        Raises SandboxError: `restore_failed`; the sandbox is of no use then.
        """
        await self.reset()
        for folder, data in zip(self._folders, snapshot.folders, strict=True):
            if not data:
                continue
            try:
                with io.BytesIO(data) as tar:
                    await self._file(
                        "bring", folder, Collected(), stdin=tar.read, timeout=COPY_SECONDS
                    )
            except OSError as error:
                what = f"{folder} cannot be put back: {error}"
                raise SandboxError("restore_failed", what, where=self.id) from error

    async def reset(self) -> None:
        raise NotImplementedError

    def path(self, path: str) -> str:
        """Absolute inside the sandbox."""
        return posixpath.normpath(posixpath.join(self.workdir, path))

    async def _file(
        self,
        operation: str,
        path: str,
        sink: Collected,
        *,
        stdin: Callable[[int], bytes] = lambda _: b"",
        limit: int | None = None,
        timeout: float = FILE_SECONDS,
    ) -> dict[str, Any]:
        """Run a file operation in the sandbox; raises the OSError it ended with."""
        if "\0" in path:
            raise ValueError("a path cannot contain a null character")
        spec = {"op": operation, "path": self.path(path), "timeout": timeout, "limit": limit}
        number = self._channel.open(b"R", spec, sink)
        try:
            await self._channel.send_all(number, stdin)
        except asyncio.CancelledError:
            self._channel.kill(number)
            raise
        result = await self._finished(sink, number, timeout)
        if isinstance(sink, Written) and sink.error is not None:
            raise sink.error
        if result["timed_out"]:
            raise OSError(errno.ETIMEDOUT, f"not done within {timeout:g} s", path)
        if result["code"] != 0 and not result["truncated"]:
            raise _os_error(result, path)
        return result

    async def _finished(self, sink: Collected, number: int, timeout: float) -> dict[str, Any]:
        """The end of a job. The supervisor keeps the deadline; beyond a grace it counts as dead."""
        try:
            async with asyncio.timeout(timeout + GRACE_SECONDS):
                return await sink.done
        except TimeoutError:
            self._channel.lose(f"its supervisor was silent {GRACE_SECONDS:g} s past a deadline")
            assert self._channel.gone is not None
            raise self._channel.gone from None
        except asyncio.CancelledError:
            self._channel.kill(number)
            raise

    async def _reset_in_place(self, timeout: float = 60.0) -> str:
        """Kill everything, empty the writable folders; what is left, '' when nothing."""
        sink = Collected()
        result = await self._finished(sink, self._channel.open(b"Z", {}, sink), timeout)
        return str(result["tail"])


def script(command: str, cwd: str | None, env: dict[str, str]) -> str:
    """The command with its directory and variables put before it on its first line."""
    if "\0" in command:
        raise ValueError("a command cannot contain a null character")
    before = "" if cwd is None else f"cd -- {shlex.quote(cwd)} || exit 1; "
    for name, value in env.items():
        if not VARIABLE.match(name) or "\0" in value:
            raise ValueError(f"not a usable environment variable: {name!r}")
        before += f"export {name}={shlex.quote(value)}; "
    return before + command


def _unpack(spool: IO[bytes], target: Path) -> None:
    archive.unpack(spool, target)


def _os_error(result: dict[str, Any], path: str) -> OSError:
    number = result["tail"].rpartition("\n")[2]
    if result["code"] == 126 and number.isdigit():
        return OSError(int(number), os.strerror(int(number)), path)
    full = "No space left" in result["tail"]
    said = result["tail"].strip() or f"ended with {result['code']}"
    return OSError(errno.ENOSPC if full else errno.EIO, said, path)
