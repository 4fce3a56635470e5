"""File operations, each run in a child that already is the agent (uid, directory, limits)."""

from __future__ import annotations

import errno
import os
import stat

CHUNK = 1 << 16


def read(path: str) -> None:
    """One regular file to stdout. Opened without blocking: the path may be a pipe."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    mode = os.fstat(fd).st_mode
    if stat.S_ISDIR(mode):
        raise OSError(errno.EISDIR, "")
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "")
    _copy(fd, 1)


def write(path: str) -> None:
    """Stdin to one file, making its parents."""
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    _copy(0, os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK, 0o644))


def pack(path: str) -> None:
    """A tar of a folder's contents, or of one file, to stdout."""
    path = os.path.realpath(path)
    os.stat(path)
    where, what = (path, ".") if os.path.isdir(path) else os.path.split(path)
    os.execvp("tar", ["tar", "-C", where, "-cf", "-", "--", what])


def unpack(path: str) -> None:
    """A tar from stdin into a folder."""
    os.makedirs(path, exist_ok=True)
    os.execvp("tar", ["tar", "-C", path, "-xf", "-"])


def keep(path: str) -> None:
    """A tar to stdout from which `bring` makes the folder's contents again: with times of a
    nanosecond, modes and links; of a folder that is the agent's own, also its mode."""
    mine = os.stat(path).st_uid == os.getuid()
    names = ["."] if mine else ["./" + name for name in sorted(os.listdir(path))]
    if names:
        os.execvp("tar", ["tar", "-C", path, "--format=posix", "--sparse", "-cf", "-", *names])


def bring(path: str) -> None:
    """What `keep` wrote, from stdin, into an empty folder."""
    os.execvp("tar", ["tar", "-C", path, "-xpf", "-"])


def wipe(roots: list[list]) -> None:
    """Empty the folders [path, mode] and give them their mode back; raises when any is not empty.

    The agent owns some of them, so modes and extended attributes (also ACLs) are undone too.
    """
    present = [(path, mode) for path, mode in roots if os.path.isdir(path)]
    for path, mode in present:
        status = os.stat(path)
        if status.st_uid != os.getuid():
            continue
        if stat.S_IMODE(status.st_mode) != mode:
            os.chmod(path, mode)
        for name in os.listxattr(path):
            os.removexattr(path, name)
    full = [path for path, _ in present if os.listdir(path)]
    if full:
        os.spawnvp(os.P_WAIT, "find", ["find", *full, "-mindepth", "1", "-xdev", "-delete"])
    left = [path for path in full if os.listdir(path)]
    if left:
        raise OSError(errno.ENOTEMPTY, f"cannot be emptied: {left}")


def _copy(source: int, target: int) -> None:
    data = os.read(source, CHUNK)
    while data:
        view = memoryview(data)
        while view:
            view = view[os.write(target, view) :]
        data = os.read(source, CHUNK)


OPERATIONS = {
    "read": read,
    "write": write,
    "pack": pack,
    "unpack": unpack,
    "keep": keep,
    "bring": bring,
}
