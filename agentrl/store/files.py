"""Files that are either wholly there or not at all, and who may write a run directory."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from agentrl.store.errors import StoreError


def sync(path: Path) -> None:
    """Wait until a file or a directory's entries are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file so that a crash leaves the old one or the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync(path.parent)


class WriterLock:
    """Held by the one process that writes a run; the system releases it when the process dies."""

    def __init__(self, directory: Path) -> None:
        self._file = open(directory / "run.lock", "a+")  # noqa: SIM115 (held until close)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise StoreError(
                "another process is writing this run",
                where=str(directory),
                fix="wait for it or stop it, or give another directory with run.dir=...",
            ) from error

    def close(self) -> None:
        self._file.close()
