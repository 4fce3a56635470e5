from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from agentrl.sandboxes import (
    DockerEngine,
    DockerSandbox,
    Hive,
    Limits,
    ProcessSandbox,
    ensure_image,
)
from agentrl.sandboxes.base import SupervisedSandbox
from agentrl.sandboxes.hive import Cell

SMALL = Limits(memory_mb=256, work_mb=32, tmp_mb=16, pids=64, inodes=2000)


@pytest.fixture(scope="session")
def engine() -> Iterator[DockerEngine]:
    engine = DockerEngine()
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def image(engine: DockerEngine) -> str:
    return ensure_image(engine=engine)


@pytest.fixture(params=["container", "cell"])
async def container(
    request: pytest.FixtureRequest, engine: DockerEngine, image: str
) -> AsyncIterator[DockerSandbox | Cell]:
    """What isolates, with small limits."""
    if request.param == "container":
        sandbox: DockerSandbox | Cell = await DockerSandbox.create(engine, image, limits=SMALL)
        yield sandbox
        await sandbox.close()
        return
    hive = await Hive.create(engine, image, limits=SMALL)
    yield await hive.cell()
    await hive.close()


@pytest.fixture(
    params=[
        pytest.param("docker", marks=pytest.mark.docker),
        pytest.param("cell", marks=pytest.mark.docker),
        "process",
    ]
)
async def sandbox(request: pytest.FixtureRequest) -> AsyncIterator[SupervisedSandbox]:
    """Each kind of sandbox: what they promise in common."""
    if request.param == "process":
        made: SupervisedSandbox = await ProcessSandbox.create()
        yield made
        await made.close()
        return
    engine, image = request.getfixturevalue("engine"), request.getfixturevalue("image")
    if request.param == "docker":
        made = await DockerSandbox.create(engine, image)
        yield made
        await made.close()
        return
    hive = await Hive.create(engine, image)
    yield await hive.cell()
    await hive.close()
