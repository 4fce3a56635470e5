"""Becoming the first process of a cell: own namespaces, and nothing left to undo them with."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
import struct
from typing import Any

RDONLY, NOSUID, NODEV, NOEXEC, REMOUNT, BIND = 1, 2, 4, 8, 32, 4096
RECURSIVE, PRIVATE = 1 << 14, 1 << 18
NEW_NS, NEW_UTS, NEW_IPC, NEW_PID, NEW_NET = 0x20000, 0x4000000, 0x8000000, 0x20000000, 0x40000000
NAMESPACES = NEW_NS | NEW_UTS | NEW_IPC | NEW_PID | NEW_NET
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
        if number not in KEPT_CAPABILITIES and _prctl(pr_capbset_drop, number) != 0:
            if ctypes.get_errno() == errno.EINVAL:
                break
            raise OSError(ctypes.get_errno(), "a capability cannot be given up")
    mask = sum(1 << number for number in KEPT_CAPABILITIES)
    header = struct.pack("Ii", 0x20080522, 0)
    _checked("capset", header, struct.pack("6I", mask, mask, 0, 0, 0, 0))
    _filter_calls()


# By architecture: the audit number, then mount, umount2, unshare, setns, pivot_root, bpf,
# perf_event_open, syslog, sethostname, setdomainname, quotactl, lookup_dcookie, fanotify_init;
# then clone.
CALLS = {
    "x86_64": (0xC000003E, (165, 166, 272, 308, 155, 321, 298, 103, 170, 171, 179, 212, 300), 56),
    "aarch64": (0xC00000B7, (40, 39, 97, 268, 41, 280, 241, 116, 161, 162, 60, 18, 262), 220),
}
# The same on every architecture: open_tree to fspick, mount_setattr, quotactl_fd.
NEWER_CALLS = (428, 429, 430, 431, 432, 433, 442, 443)
CLONE3 = 435
X32 = 0x40000000


def _filter_calls() -> None:
    """Docker's own filter allows these calls to a container that may mount; to a cell nothing."""
    architecture, denied, clone = CALLS[os.uname().machine]
    load, equal, greater, mask, answer = 0x20, 0x15, 0x35, 0x54, 0x06
    allow, refuse = 0x7FFF0000, 0x00050000
    namespaces = NAMESPACES | 0x2000000 | 0x10000000
    code = [(load, 0, 0, 4), (equal, 1, 0, architecture), (answer, 0, 0, refuse | errno.ENOSYS)]
    code += [(load, 0, 0, 0), (greater, 0, 1, X32), (answer, 0, 0, refuse | errno.ENOSYS)]
    code += [(equal, 0, 1, CLONE3), (answer, 0, 0, refuse | errno.ENOSYS)]
    for number in (*denied, *NEWER_CALLS):
        code += [(equal, 0, 1, number), (answer, 0, 0, refuse | errno.EPERM)]
    code += [(equal, 0, 4, clone), (load, 0, 0, 16), (mask, 0, 0, namespaces)]
    code += [(equal, 1, 0, 0), (answer, 0, 0, refuse | errno.EPERM), (answer, 0, 0, allow)]
    program = b"".join(struct.pack("HBBI", *step) for step in code)
    buffer = ctypes.create_string_buffer(program, len(program))
    pr_set_seccomp, mode_filter = 22, 2
    head = struct.pack("HxxxxxxQ", len(code), ctypes.addressof(buffer))
    if _prctl(pr_set_seccomp, mode_filter, head) != 0:
        raise OSError(ctypes.get_errno(), "the filter of system calls cannot be set")


def _prctl(*arguments: Any) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    return int(libc.prctl(*arguments, *([0] * (5 - len(arguments)))))


def _checked(name: str, *arguments: Any) -> None:
    function = getattr(ctypes.CDLL(None, use_errno=True), name)
    if function(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
