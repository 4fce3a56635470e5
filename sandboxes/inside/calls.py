"""A filter of system calls for everything that may be an agent's."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from typing import Any

NEW_NS, NEW_UTS, NEW_IPC, NEW_PID, NEW_NET = 0x20000, 0x4000000, 0x8000000, 0x20000000, 0x40000000
NEW_CGROUP, NEW_USER = 0x2000000, 0x10000000
NAMESPACES = NEW_NS | NEW_UTS | NEW_IPC | NEW_PID | NEW_NET

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


def filter_calls() -> None:
    """From here on no namespace is made or entered and nothing is mounted, by us or our children.

    Docker's own filter allows that to a container that may mount, as a hive may, and Podman's lets
    anyone have a user namespace. Raises KeyError on a processor whose calls are not known.
    """
    architecture, denied, clone = CALLS[os.uname().machine]
    load, equal, greater, mask, answer = 0x20, 0x15, 0x35, 0x54, 0x06
    allow, refuse = 0x7FFF0000, 0x00050000
    namespaces = NAMESPACES | NEW_CGROUP | NEW_USER
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
    if prctl(pr_set_seccomp, mode_filter, head) != 0:
        raise OSError(ctypes.get_errno(), "the filter of system calls cannot be set")


def prctl(*arguments: Any) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    return int(libc.prctl(*arguments, *([0] * (5 - len(arguments)))))
