"""Containers whose first process is a Python program of ours, spoken to over their stream."""

from __future__ import annotations

import os
import socket
from typing import Any

from agentrl.sandboxes.bootstrap import INTERPRETER_OPTIONS
from agentrl.sandboxes.engine import DockerEngine, image_missing
from agentrl.sandboxes.owner import OWNER, owner, remove


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
