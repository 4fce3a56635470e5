"""Who owns a container: so that those of dead processes can be found and removed."""

from __future__ import annotations

import contextlib
import os
import platform
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from agentrl.core import SandboxError
from agentrl.sandboxes.engine import DockerEngine

OWNER = "agentrl.owner"
REMOVE_TRIES = 200


def owner() -> str:
    """This process, beyond confusion: host, boot, pid namespace, pid, start time."""
    return identity(os.getpid())


def identity(pid: int) -> str:
    """The owner label of a process of this machine and pid namespace."""
    return f"{_machine()} {pid} {_start_time(pid)}"


def alive(label: str) -> bool:
    """Whether the process behind a label may still run.

    A label of another machine or pid namespace cannot be judged from here and counts as alive; one
    from before the last boot is dead.
    """
    host, boot, namespace, pid, start = (label.split(" ") + [""] * 5)[:5]
    here = _machine().split(" ")
    if host != here[0]:
        return True
    if boot != here[1]:
        return False
    if namespace != here[2]:
        return True
    return start != "" and _start_time(int(pid)) == start


def reap(engine: DockerEngine) -> list[str]:
    """Remove the containers whose owner is gone, and the networks, volumes and images that carry
    the label of such an owner; returns their names.

    Containers normally end by themselves when the stream to their owner breaks, also when it was
    killed. This catches the rest, such as those of an engine that was down at that moment.
    """
    found = engine.checked(lambda: engine.api.containers(all=True, filters={"label": OWNER}))
    removed = []
    for container in found:
        if not alive(container["Labels"][OWNER]):
            remove(engine, container["Id"])
            removed.append(container["Names"][0].lstrip("/"))
    return removed + _reap_others(engine)


def _reap_others(engine: DockerEngine) -> list[str]:
    """What is still in use by somebody stays, for Docker refuses to remove it."""
    api, wanted = engine.api, {"label": OWNER}
    volumes = engine.checked(lambda: api.volumes(filters=wanted))["Volumes"] or []
    kinds: list[tuple[list[dict[str, Any]], str, Callable[[str], object]]] = [
        (engine.checked(lambda: api.networks(filters=wanted)), "Id", api.remove_network),
        (volumes, "Name", api.remove_volume),
        (engine.checked(lambda: api.images(filters=wanted)), "Id", api.remove_image),
    ]
    removed = []
    for things, key, take in kinds:
        for thing in things:
            if alive((thing.get("Labels") or {})[OWNER]):
                continue
            name = (thing.get("RepoTags") or [thing.get("Name") or thing[key]])[0]
            with contextlib.suppress(SandboxError):
                engine.checked(partial(take, name if "RepoTags" in thing else thing[key]))
                removed.append(str(name))
    return removed


def remove(engine: DockerEngine, container: str) -> None:
    """Remove a container with all it runs, and wait until it is gone.

    Raises SandboxError. One whose engine is down is noted, for `sweep`.
    """
    import docker.errors

    def attempt() -> None:
        for left in reversed(range(REMOVE_TRIES)):
            try:
                engine.api.remove_container(container, force=True, v=True)
                return
            except docker.errors.NotFound:
                return
            except docker.errors.APIError as error:
                # 409: it is being removed at this moment, by itself or by somebody else; the next
                # try finds it gone. Podman then fails in other ways.
                if not (error.status_code == 409 or engine.podman) or not left:
                    raise
            time.sleep(0.05)

    try:
        engine.checked(attempt)
    except SandboxError:
        engine.unremoved.add(container)
        raise
    engine.unremoved.discard(container)


def sweep(engine: DockerEngine) -> None:
    """Remove what could not be removed before. Raises SandboxError when it still cannot."""
    for container in sorted(engine.unremoved):
        remove(engine, container)


def _machine() -> str:
    boot, namespace = "-", "-"
    if Path("/proc/self/ns/pid").is_symlink():
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = os.readlink("/proc/self/ns/pid")
    return f"{platform.node() or '-'} {boot} {namespace}"


def _start_time(pid: int) -> str:
    """Clock ticks since boot, so that a reused pid is not mistaken; '' when not running."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "" if Path("/proc/self/stat").exists() else _probe(pid)
    return "" if fields[0] in "ZX" else fields[19]


def _probe(pid: int) -> str:
    """Without /proc (macOS) a pid can only be asked whether it is in use."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return "running"
