"""Containers whose first process is a Python program of ours, spoken to over their stream."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any

from agentrl.core import SandboxError
from agentrl.sandboxes.attached import Attached
from agentrl.sandboxes.bootstrap import INTERPRETER_OPTIONS
from agentrl.sandboxes.channel import Channel
from agentrl.sandboxes.door import Door
from agentrl.sandboxes.engine import DockerEngine, image_missing
from agentrl.sandboxes.owner import OWNER, owner, remove

START_SECONDS = 60.0


def container_config(image: str, host: dict[str, Any]) -> dict[str, Any]:
    """For the API: the bootstrap of `bootstrap.program`, labelled as ours, without a network."""
    return {
        "Image": image,
        "Entrypoint": ["python3"],
        "Cmd": INTERPRETER_OPTIONS,
        "User": "0:0",
        "WorkingDir": "/",
        "Hostname": "sandbox",
        "OpenStdin": True,
        "StdinOnce": True,
        "AttachStdin": True,
        "AttachStdout": True,
        "AttachStderr": True,
        "NetworkDisabled": True,
        "Labels": {OWNER: owner()},
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": host,
    }


async def launch(
    engine: DockerEngine, name: str, config: dict[str, Any], channel: Channel, door: Door | None
) -> None:
    """Start a container and wait until its first process has said that it is ready.

    Args:
        door: mounted where the engine can; one that cannot is not asked again.

    Raises:
        SandboxError, TimeoutError.
    """
    plain = config["HostConfig"]
    try:
        host = {**plain, "Mounts": [door.mount]} if door else plain
        stream = await _started(engine, name, {**config, "HostConfig": host})
    except SandboxError as error:
        if door is None or error.cause != "docker_refused" or "mount" not in str(error):
            raise
        engine.near = False
        stream = await _started(engine, name, config)
    loop = asyncio.get_running_loop()
    await loop.create_connection(lambda: Attached(channel), sock=stream)
    async with asyncio.timeout(START_SECONDS):
        await channel.ready


async def _started(engine: DockerEngine, name: str, config: dict[str, Any]) -> socket.socket:
    """`start` in a thread. When cancelled it ends first: else the caller, who removes what there
    is, would come before the thread that makes it."""
    starting = asyncio.ensure_future(engine.call(lambda: start(engine, name, config)))
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        await asyncio.wait([starting])
        if not starting.cancelled() and starting.exception() is None:
            starting.result().close()
        raise


def start(engine: DockerEngine, name: str, config: dict[str, Any]) -> socket.socket:
    """Create, attach, start (blocking); the stream is attached first and loses nothing.

    Raises:
        SandboxError: cause `image_missing`. What Docker raises is for `DockerEngine.call`.
    """
    import docker.errors

    api = engine.api
    try:
        container = api.create_container_from_config(config, name)["Id"]
    except docker.errors.ImageNotFound as error:
        raise image_missing(config["Image"], engine.host) from error
    asked = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
    attached = api.attach_socket(container, params=asked)
    stream = socket.socket(fileno=os.dup(attached.fileno()))
    attached.close()
    try:
        api.start(container)
    except BaseException:
        stream.close()
        raise
    stream.setblocking(False)
    return stream


def remove_own(pid: int, engine: DockerEngine, name: str) -> None:
    """For a finalizer: also at interpreter exit, but not in a forked child of the owner."""
    if os.getpid() == pid:
        remove(engine, name)
