"""Where cells come from: a Python with everything imported and clean memory, see `hive`."""

from __future__ import annotations

import os
import sys
from typing import Any, NoReturn

from agentrl.sandboxes.inside import cell, cgroups, zygote


def serve(descriptor: int) -> NoReturn:
    zygote.answer(descriptor, make)


def make(spec: dict[str, Any], descriptors: tuple[int, ...], start: dict[str, Any]) -> int:
    """A cell; the pid of its first process, a child of the hive's. 0 for no cell."""
    if not spec:
        zygote.preload(start["config"]["preload"])
        return 0

    def leave() -> None:
        cgroups.enter(spec["groups"])
        cell.unshare()

    return zygote.fork(leave, lambda: begin(spec, descriptors[0], start))


def begin(spec: dict[str, Any], channel: int, start: dict[str, Any]) -> NoReturn:
    try:
        os.dup2(channel, 0)
        os.dup2(channel, 1)
        os.closerange(3, 1 << 16)
        os.environ.clear()
        os.environ.update(start["env"])
        os.chdir("/")
        cell.isolate(spec)
        cell.renounce()
        supervisor = sys.modules["agentrl.sandboxes.inside.supervisor"].Supervisor(spec["config"])
        supervisor.spawner.zygote.inherit(start["config"]["preload"])
        supervisor.serve()
    except BaseException as error:  # noqa: BLE001  (boundary: nothing may return into the nursery)
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(1)
