"""Finding and ending processes through /proc."""

from __future__ import annotations

import contextlib
import os
import signal


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


def children(pid: int) -> list[int]:
    found: list[int] = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            found += _numbers(f"/proc/{pid}/task/{task}/children")
    except OSError:
        pass
    return found


def own_children() -> list[int]:
    """Of this process, which has one thread."""
    try:
        return _numbers("/proc/thread-self/children")
    except OSError:
        return []


def _numbers(path: str) -> list[int]:
    # Unbuffered: three calls instead of a dozen, and it happens with every command.
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        text = b""
        while part := os.read(fd, 1 << 16):
            text += part
    finally:
        os.close(fd)
    return [int(word) for word in text.split()]


def born(pid: int) -> bytes | None:
    """Start time in clock ticks since boot, None for a process that is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[19]
    except (OSError, IndexError):
        return None


def tree(roots: list[int], keep: dict[int, bytes | None]) -> dict[int, bytes]:
    """pid -> start time of the roots and all below them, without the trees of `keep`."""
    found: dict[int, bytes] = {}
    todo = list(roots)
    while todo:
        pid = todo.pop()
        start = born(pid)
        if start is not None and keep.get(pid) != start:
            found[pid] = start
            todo += children(pid)
    return found


def others(but: int) -> list[str]:
    """Every process of this pid namespace except the first one and one more."""
    keep = ("1", str(but))
    return [name for name in os.listdir("/proc") if name.isdigit() and name not in keep]


def ipc_left() -> str:
    """System V objects outlive their processes, and Python has no call to remove them."""
    for kind in ("shm", "sem", "msg"):
        try:
            with open("/proc/sysvipc/" + kind) as file:
                if len(file.readlines()) > 1:
                    return f"System V {kind} objects are left"
        except OSError:
            pass
    return ""
