"""Errors of the run directory, and how the operating system's become readable."""

from __future__ import annotations

import errno
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agentrl.core import AgentRLError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class StoreError(AgentRLError):
    """The run directory cannot be read or written."""


class DiskFullError(StoreError):
    """No space for what was to be written; everything stored before is intact."""


class DamagedCheckpointError(StoreError):
    """A checkpoint is not what was written."""


def _free(path: Path) -> str:
    for place in (path, *path.parents):
        if place.exists():
            return f"{shutil.disk_usage(place).free / 2**20:.1f} MB free"
    return "free space unknown"


def disk_full(path: Path, doing: str) -> DiskFullError:
    return DiskFullError(
        f"no space left while {doing} ({_free(path)}); this write was undone, "
        "everything stored before it is intact",
        where=str(path),
        fix="make space, or raise the quota or file size limit, then run again with --resume",
    )


def _is_full(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return error.errno in _FULL
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", 0)
        # SQLite knows a file size limit (EFBIG) and a quota (EDQUOT) only as a failed write.
        return code & 0xFF == sqlite3.SQLITE_FULL or code == sqlite3.SQLITE_IOERR_WRITE
    return False


@contextmanager
def readable_errors(path: Path, doing: str) -> Iterator[None]:
    """Turn errors of the file system and of SQLite into `StoreError`."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        if _is_full(error):
            raise disk_full(path, doing) from error
        raise StoreError(f"{doing} failed: {error}", where=str(path)) from error
