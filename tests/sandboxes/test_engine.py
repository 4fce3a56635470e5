"""What is wrong with Docker is said in words that help."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

import pytest

from agentrl.core import AgentRLError, SandboxError
from agentrl.sandboxes import (
    DockerEngine,
    DockerPool,
    DockerSandbox,
    docker_available,
    ensure_dockerd,
    ensure_image,
)
from agentrl.sandboxes import engine as engine_module
from agentrl.sandboxes.localfiles import with_dependencies


def failure(host: str) -> SandboxError:
    with pytest.raises(SandboxError) as caught:
        DockerEngine(host)
    assert isinstance(caught.value, AgentRLError)
    assert docker_available(host) == (False, str(caught.value))
    return caught.value


def test_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    error = failure(f"unix://{tmp_path}/docker.sock")
    assert error.cause == "docker_missing"
    assert str(error) == (
        f"unix://{tmp_path}/docker.sock: Docker is not installed\n"
        "  -> install it (Debian and Ubuntu: sudo apt-get install docker.io), then start it: "
        "sudo systemctl start docker, or `dockerd &` as root"
    )


def test_installed_but_not_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: "/usr/sbin/dockerd")
    error = failure(f"unix://{tmp_path}/docker.sock")
    assert error.cause == "docker_down"
    assert "its socket does not exist" in str(error)
    assert "systemctl start docker" in error.fix


def test_a_dead_socket(tmp_path: Path) -> None:
    path = tmp_path / "docker.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
    error = failure(f"unix://{path}")
    assert error.cause == "docker_down"
    assert "Connection refused" in str(error)


def test_a_socket_that_never_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "ANSWER_SECONDS", 1)
    path = tmp_path / "docker.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        error = failure(f"unix://{path}")
    assert error.cause == "docker_down"
    assert "no Docker engine answers there" in str(error)


def test_no_permission(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    error = failure("unix:///var/run/docker.sock")
    assert error.cause == "docker_denied"
    assert "usermod -aG docker" in str(error)


def test_a_wrong_port_in_docker_host(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        host = f"tcp://127.0.0.1:{unused.getsockname()[1]}"
    monkeypatch.setenv("DOCKER_HOST", host)
    available, reason = docker_available()
    assert not available
    assert reason.startswith(host)
    assert "set DOCKER_HOST" in reason


async def test_a_pool_without_docker_says_so_at_every_use(tmp_path: Path) -> None:
    pool = DockerPool("any", host=f"unix://{tmp_path}/none.sock")
    for _ in range(2):
        with pytest.raises(SandboxError, match="Docker is not"):
            await pool.acquire()
    await pool.close()


@pytest.mark.docker
async def test_no_image(engine: DockerEngine) -> None:
    with pytest.raises(SandboxError) as caught:
        await DockerSandbox.create(engine, "agentrl/never-built:1")
    assert caught.value.cause == "image_missing"
    assert "agentrl/never-built:1" in str(caught.value)
    assert "python -m agentrl.sandboxes.images" in caught.value.fix


@pytest.mark.docker
async def test_an_image_without_python_says_what_it_needs(engine: DockerEngine) -> None:
    engine.api.import_image_from_data(b"\0" * 1024, repository="agentrl-test/empty", tag="1")
    try:
        with pytest.raises(SandboxError, match="python3"):
            await DockerSandbox.create(engine, "agentrl-test/empty:1")
    finally:
        engine.api.remove_image("agentrl-test/empty:1")


@pytest.mark.docker
def test_a_running_engine_is_left_alone(engine: DockerEngine) -> None:
    assert docker_available()[0]
    assert "Docker" in docker_available()[1]
    assert ensure_dockerd() is False


def test_an_unknown_package_is_named() -> None:
    with pytest.raises(AgentRLError, match=r"(?s)no-such-package.*pip install"):
        with_dependencies(["no-such-package"])


@pytest.mark.docker
def test_a_missing_folder_of_packages_is_named(tmp_path: Path) -> None:
    with pytest.raises(AgentRLError, match=r"(?s)no such folder.*pip install --target"):
        ensure_image(extra_site=tmp_path / "none")
