"""The Docker engine: connecting to it, its failures as readable errors, starting it."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from agentrl.core import SandboxError

if TYPE_CHECKING:
    from docker import APIClient

T = TypeVar("T")

DEFAULT_HOST = "unix:///var/run/docker.sock"
ANSWER_SECONDS = 5


class DockerEngine:
    """One connection to a Docker engine, shared by all sandboxes of a provider.

    Args:
        host: such as `unix:///var/run/docker.sock` or `tcp://host:2375`; None takes DOCKER_HOST
            or the default socket.
        threads: how many requests run at once; the engine starts only a few containers a second
            however many are asked for.

    Attributes:
        podman: it is Podman behind Docker's API.
        near: its containers may be able to reach sockets of this machine; false once it refused.
        unremoved: containers that could not be removed because the engine was down.

    Raises:
        SandboxError: cause `docker_missing`, `docker_down` or `docker_denied`.
    """

    def __init__(self, host: str | None = None, *, threads: int = 4) -> None:
        self.host = host or os.environ.get("DOCKER_HOST") or DEFAULT_HOST
        self.api = _connect(self.host)
        parts = self.checked(self.api.version).get("Components") or []
        self.podman = any("Podman" in part.get("Name", "") for part in parts)
        self.near = self.host.startswith("unix://")
        self.unremoved: set[str] = set()
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="agentrl-docker")

    async def call(self, function: Callable[[], T]) -> T:
        """Run a blocking request in a thread of the engine's own.

        Raises:
            SandboxError: the engine refused (cause `docker_refused`) or went away.
        """
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: self.checked(function)
        )

    def checked(self, function: Callable[[], T]) -> T:
        """Call and translate what Docker raises."""
        import docker.errors
        import requests.exceptions

        try:
            return function()
        except docker.errors.ImageNotFound as error:
            raise image_missing(str(error.explanation or error), self.host) from error
        except docker.errors.NotFound as error:
            raise SandboxError(
                "sandbox_died", f"the container is gone: {error.explanation}", where=self.host
            ) from error
        except docker.errors.APIError as error:
            text = f"Docker refused: {error.explanation or error}"
            raise SandboxError("docker_refused", text, where=self.host) from error
        except (requests.exceptions.RequestException, docker.errors.DockerException) as error:
            raise _down(self.host, f"Docker went away: {error}") from error

    def close(self) -> None:
        self._threads.shutdown(wait=True)
        self.api.close()


def image_missing(what: str, host: str) -> SandboxError:
    return SandboxError(
        "image_missing",
        f"there is no such image: {what}",
        where=host,
        fix="build the base image with `python -m agentrl.sandboxes.images`"
        " (or agentrl.sandboxes.ensure_image()), or pull the image with `docker pull`",
    )


def docker_available(host: str | None = None) -> tuple[bool, str]:
    """Whether a Docker engine answers, and its version or what is wrong and how to mend it."""
    try:
        engine = DockerEngine(host)
    except SandboxError as error:
        return False, str(error)
    try:
        return True, f"Docker {engine.checked(engine.api.version)['Version']} at {engine.host}"
    finally:
        engine.close()


def ensure_dockerd(*, seconds: float = 30.0, log: Path = Path("/tmp/agentrl-dockerd.log")) -> bool:
    """Start `dockerd` in the background if it is installed, not running, and we are root.

    A running engine is never touched, and only the default socket is looked after.

    Returns: True when this call started it.

    Raises:
        SandboxError: Docker is not installed, we are not root, or it did not come up.
    """
    try:
        DockerEngine().close()
    except SandboxError as error:
        remote = os.environ.get("DOCKER_HOST", DEFAULT_HOST) != DEFAULT_HOST
        if error.cause != "docker_down" or remote or os.geteuid() != 0:
            raise
    else:
        return False
    with log.open("ab") as output:
        process = subprocess.Popen(
            ["dockerd"], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            start_new_session=True,
        )  # fmt: skip
    # It outlives us; the thread collects its exit code if it ends before we do.
    threading.Thread(target=process.wait, daemon=True).start()
    until = time.monotonic() + seconds
    while time.monotonic() < until and process.returncode is None:
        if docker_available()[0]:
            return True
        time.sleep(0.2)
    raise SandboxError(
        "docker_down",
        f"dockerd did not come up within {seconds:.0f} s",
        where=str(log),
        fix=f"read the end of {log}",
    )


def _connect(host: str) -> APIClient:
    try:
        import docker
        import docker.utils
    except ImportError as error:
        raise SandboxError(
            "docker_missing",
            "the Python package `docker` is not installed",
            fix="pip install docker",
        ) from error
    _knock(host)
    settings: dict[str, Any] = {**docker.utils.kwargs_from_env(), "base_url": host}
    try:
        docker.APIClient(timeout=ANSWER_SECONDS, version="auto", **settings).close()
        return docker.APIClient(timeout=120, version="auto", **settings)
    except docker.errors.DockerException as error:
        raise _down(host, f"no Docker engine answers there: {error}") from error


def _knock(host: str) -> None:
    """Connect once with a plain socket: its errors are exact where the client's are not."""
    url = urlsplit(host)
    if url.scheme not in ("unix", "tcp", "http"):
        return
    family = socket.AF_UNIX if url.scheme == "unix" else socket.AF_INET
    address: Any = url.path if url.scheme == "unix" else (url.hostname, url.port or 2375)
    with socket.socket(family, socket.SOCK_STREAM) as knocker:
        knocker.settimeout(ANSWER_SECONDS)
        try:
            knocker.connect(address)
        except PermissionError as error:
            raise SandboxError(
                "docker_denied",
                "no permission to use the Docker engine",
                where=host,
                fix="run as root, or add yourself to its group: sudo usermod -aG docker $USER,"
                " then log in again",
            ) from error
        except FileNotFoundError as error:
            if url.scheme == "unix" and shutil.which("dockerd") is None:
                raise SandboxError(
                    "docker_missing",
                    "Docker is not installed",
                    where=host,
                    fix="install it (Debian and Ubuntu: sudo apt-get install docker.io), then start"
                    " it: sudo systemctl start docker, or `dockerd &` as root",
                ) from error
            raise _down(host, "Docker is not running: its socket does not exist") from error
        except OSError as error:
            raise _down(host, f"Docker is not running: {error}") from error


def _down(host: str, what: str) -> SandboxError:
    return SandboxError(
        "docker_down",
        what,
        where=host,
        fix="start it: sudo systemctl start docker, or `dockerd &` as root; if it runs elsewhere,"
        " set DOCKER_HOST",
    )
