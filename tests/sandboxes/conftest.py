from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from agentrl.sandboxes import (
    DockerEngine,
    DockerSandbox,
    Limits,
    ProcessSandbox,
    ensure_image,
)

SMALL = Limits(memory_mb=256, work_mb=32, tmp_mb=16, pids=64, inodes=2000)


@pytest.fixture(scope="session")
def engine() -> Iterator[DockerEngine]:
    engine = DockerEngine()
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def image(engine: DockerEngine) -> str:
    return ensure_image(engine=engine)


@pytest.fixture
async def container(engine: DockerEngine, image: str) -> AsyncIterator[DockerSandbox]:
    """A container with small limits."""
    sandbox = await DockerSandbox.create(engine, image, limits=SMALL)
    yield sandbox
    await sandbox.close()


@pytest.fixture(params=[pytest.param("docker", marks=pytest.mark.docker), "process"])
async def sandbox(request: pytest.FixtureRequest) -> AsyncIterator[DockerSandbox | ProcessSandbox]:
    """Each kind of sandbox: what they promise in common."""
    if request.param == "docker":
        engine, image = request.getfixturevalue("engine"), request.getfixturevalue("image")
        made: DockerSandbox | ProcessSandbox = await DockerSandbox.create(engine, image)
    else:
        made = await ProcessSandbox.create()
    yield made
    await made.close()
