"""Becoming the first process of a cell: own namespaces, and nothing left to undo them with."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
import struct
from typing import Any

from agentrl.sandboxes.inside.calls import NAMESPACES, filter_calls, prctl

RDONLY, NOSUID, NODEV, NOEXEC, REMOUNT, BIND = 1, 2, 4, 8, 32, 4096
RECURSIVE, PRIVATE = 1 << 14, 1 << 18
KEPT_CAPABILITIES = (5, 6, 7)  # KILL, SETGID, SETUID: what the supervisor works with
# What Docker hides of /proc, and what it makes read-only.
MASKED = ("acpi", "asound", "interrupts", "kcore", "keys", "latency_stats", "sched_debug", "scsi",
          "timer_list", "timer_stats")  # fmt: skip
READ_ONLY = ("bus", "fs", "irq", "sys", "sysrq-trigger")
SIOCSIFFLAGS, IFF_UP = 0x8914, 1


def unshare() -> None:
    _checked("unshare", NAMESPACES)


def isolate(spec: dict[str, Any]) -> None:
    """In the new namespaces: own mounts, own host name, the loop-back interface up.

    Args:
        spec: `mounts` ([path, options of a tmpfs]), `hidden` (folders that are covered).
    """
    mount(None, "/", None, RECURSIVE | PRIVATE)
    for path in spec["hidden"]:
        if os.path.isdir(path):
            mount("tmpfs", path, "tmpfs", RDONLY | NOSUID | NODEV | NOEXEC, "size=4k,mode=0")
    for path, options in spec["mounts"]:
        mount("tmpfs", path, "tmpfs", NOSUID | NODEV, options)
    mount("mqueue", "/dev/mqueue", "mqueue", NOSUID | NODEV | NOEXEC)
    mount("devpts", "/dev/pts", "devpts", NOSUID | NOEXEC, "newinstance,ptmxmode=0666,mode=0620")
    _mount_proc()
    socket.sethostname("sandbox")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as interfaces:
        fcntl.ioctl(interfaces, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))


def _mount_proc() -> None:
    mount("proc", "/proc", "proc", NOSUID | NODEV | NOEXEC)
    for name in MASKED:
        path = "/proc/" + name
        if os.path.isdir(path):
            mount("tmpfs", path, "tmpfs", RDONLY | NOSUID | NODEV | NOEXEC, "size=4k")
        elif os.path.exists(path):
            mount("/dev/null", path, None, BIND)
    for name in READ_ONLY:
        path = "/proc/" + name
        if os.path.exists(path):
            mount(path, path, None, BIND | RECURSIVE)
            mount(None, path, None, BIND | REMOUNT | RDONLY | NOSUID | NODEV | NOEXEC)


def mount(source: str | None, target: str, kind: str | None, flags: int, data: str = "") -> None:
    texts = [None if text is None else text.encode() for text in (source, target, kind)]
    try:
        _checked("mount", *texts, ctypes.c_ulong(flags), data.encode() or None)
    except OSError as error:
        raise OSError(error.errno, f"{kind or source} at {target}: {error.strerror}") from error


def renounce() -> None:
    """Keep three capabilities, and no system call through which namespaces are made or entered."""
    for number in range(64):
        pr_capbset_drop = 24
        if number not in KEPT_CAPABILITIES and prctl(pr_capbset_drop, number) != 0:
            if ctypes.get_errno() == errno.EINVAL:
                break
            raise OSError(ctypes.get_errno(), "a capability cannot be given up")
    mask = sum(1 << number for number in KEPT_CAPABILITIES)
    header = struct.pack("Ii", 0x20080522, 0)
    _checked("capset", header, struct.pack("6I", mask, mask, 0, 0, 0, 0))
    filter_calls()


def _checked(name: str, *arguments: Any) -> None:
    function = getattr(ctypes.CDLL(None, use_errno=True), name)
    if function(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
