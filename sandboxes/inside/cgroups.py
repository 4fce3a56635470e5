"""Control groups inside a hive's own (versions 1 and 2): what one cell may use."""

from __future__ import annotations

import ctypes
import os
from typing import Any

PERIOD = 100_000


class Groups:
    """Mounts the control groups of this container below `where`, to make groups in them."""

    def __init__(self, where: str) -> None:
        self.places: dict[str, str] = {}
        with open("/proc/self/cgroup") as file:
            lines = [line.rstrip("\n").split(":", 2) for line in file]
        self.unified = all(not names for _, names, _ in lines)
        if self.unified:
            self._mount(where, "cgroup2", "", ("memory", "pids", "cpu"))
            self._delegate(where)
            return
        for _, names, path in lines:
            wanted = [name for name in names.split(",") if name in ("memory", "pids", "cpu")]
            if wanted:
                place = f"{where}/{wanted[0]}"
                os.makedirs(place, exist_ok=True)
                self._mount(place, "cgroup", names, tuple(wanted), path)
        missing = {"memory", "pids", "cpu"} - self.places.keys()
        if missing:
            raise OSError(38, f"no control group for {', '.join(sorted(missing))}")

    def make(self, name: str, limits: dict[str, int]) -> list[str]:
        """Groups of that name; a process put into all of them is held to the limits.

        Args:
            limits: `memory` (bytes), `pids`, `cpu` (microseconds per 100 ms).
        """
        paths = sorted({f"{place}/{name}" for place in self.places.values()})
        for path in paths:
            os.mkdir(path)
        memory, pids, cpu = (f"{self.places[n]}/{name}" for n in ("memory", "pids", "cpu"))
        if self.unified:
            _write(f"{memory}/memory.max", limits["memory"])
            _write(f"{memory}/memory.swap.max", 0, optional=True)
            _write(f"{cpu}/cpu.max", f"{limits['cpu']} {PERIOD}")
        else:
            _write(f"{memory}/memory.limit_in_bytes", limits["memory"])
            _write(f"{memory}/memory.memsw.limit_in_bytes", limits["memory"], optional=True)
            _write(f"{cpu}/cpu.cfs_period_us", PERIOD)
            _write(f"{cpu}/cpu.cfs_quota_us", limits["cpu"])
        _write(f"{pids}/pids.max", limits["pids"])
        return paths

    def _mount(
        self, place: str, kind: str, options: str, names: tuple[str, ...], path: str = "/"
    ) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mount(b"hive", place.encode(), kind.encode(), 0, options.encode() or None):
            number = ctypes.get_errno()
            raise OSError(number, f"{kind} {options} cannot be mounted: {os.strerror(number)}")
        # "/" where the container has a cgroup namespace of its own.
        self.places.update(dict.fromkeys(names, place + path.rstrip("/")))

    def _delegate(self, where: str) -> None:
        """Version 2 allows no processes in a group that has groups below it."""
        os.makedirs(f"{where}/main", exist_ok=True)
        with open(f"{where}/cgroup.procs") as file:
            for pid in file.read().split():
                _write(f"{where}/main/cgroup.procs", pid)
        _write(f"{where}/cgroup.subtree_control", "+memory +pids +cpu")


def removed(path: str) -> bool:
    """Remove a group; False while its last processes are still ending."""
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def enter(paths: list[str]) -> None:
    for path in paths:
        _write(f"{path}/cgroup.procs", 0)


def _write(path: str, value: Any, *, optional: bool = False) -> None:
    try:
        with open(path, "w") as file:
            file.write(str(value))
    except OSError:
        if not optional:
            raise
