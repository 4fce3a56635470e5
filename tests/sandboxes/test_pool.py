"""Warm pools: bounded, clean on every acquire, and empty when closed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from agentrl.core import SandboxError, SandboxProvider
from agentrl.sandboxes import DockerEngine, DockerPool, Limits, Pool, ProcessPool
from agentrl.sandboxes.owner import OWNER, owner

SMALL = Limits(memory_mb=128, work_mb=16, tmp_mb=8, pids=32)


def mine(engine: DockerEngine) -> list[str]:
    found = engine.api.containers(all=True, filters={"label": f"{OWNER}={owner()}"})
    return [container["Names"][0] for container in found]


@pytest.fixture(params=[pytest.param("docker", marks=pytest.mark.docker), "process"])
async def pool(request: pytest.FixtureRequest) -> AsyncIterator[Pool]:
    if request.param == "docker":
        image = request.getfixturevalue("image")
        made: Pool = DockerPool(image, limits=SMALL, size=2, spare=1)
    else:
        made = ProcessPool(size=2, spare=1)
    yield made
    await made.close()


async def test_a_released_sandbox_comes_back_clean(pool: Pool) -> None:
    assert isinstance(pool, SandboxProvider)
    first = await pool.acquire()
    await first.exec("touch left; sleep 1000 &")
    await pool.release(first)
    again = await pool.acquire()
    assert again is first
    assert (await again.exec("ls -A")).output == ""


async def test_never_more_than_the_bound(pool: Pool) -> None:
    held: set[int] = set()
    both = asyncio.Event()

    async def episode() -> None:
        sandbox = await pool.acquire()
        assert id(sandbox) not in held, "one sandbox for two episodes"
        held.add(id(sandbox))
        assert len(held) <= 2
        if len(held) == 2:
            both.set()
        await both.wait()
        assert (await sandbox.exec("ls -A; touch mine")).output == ""
        held.remove(id(sandbox))
        await pool.release(sandbox)

    async with asyncio.timeout(60):
        await asyncio.gather(*(episode() for _ in range(8)))


async def test_fresh_is_never_a_used_one_and_never_waits_for_episodes(pool: Pool) -> None:
    used = [await pool.acquire(), await pool.acquire()]
    seen = set(map(id, used))
    async with asyncio.timeout(60):
        fresh = await pool.fresh()
    assert id(fresh) not in seen
    await pool.release(used[0])
    await pool.release(fresh)
    another = await pool.fresh()
    assert id(another) not in seen | {id(fresh)}
    await pool.release(another)
    await pool.release(used[1])


async def test_a_dead_sandbox_is_neither_kept_nor_handed_out(pool: Pool) -> None:
    first = await pool.acquire()
    await first.close()
    await pool.release(first)
    await pool.release(first)
    second = await pool.acquire()
    assert second is not first
    await pool.release(second)
    # Dies while it waits in the pool.
    await second.close()
    third = await pool.acquire()
    assert third is not second
    assert (await third.exec("echo alive")).ok
    await pool.release(third)
    both = [await pool.acquire(), await pool.acquire()]
    assert len(set(map(id, both))) == 2


async def test_waiting_can_be_cancelled_without_losing_a_place(pool: Pool) -> None:
    held = [await pool.acquire(), await pool.acquire()]
    waiter = asyncio.create_task(pool.acquire())
    await asyncio.sleep(0.05)
    waiter.cancel()
    await asyncio.gather(waiter, return_exceptions=True)
    for sandbox in held:
        await pool.release(sandbox)
    async with asyncio.timeout(20):
        held = [await pool.acquire(), await pool.acquire()]


async def test_a_failed_start_gives_its_place_back() -> None:
    async def fail() -> None:
        raise SandboxError("docker_down", "no")

    pool = Pool(fail, size=1)  # type: ignore[arg-type]
    for _ in range(3):
        with pytest.raises(SandboxError):
            await asyncio.wait_for(pool.acquire(), 5)
    await pool.close()


@pytest.mark.docker
async def test_closing_removes_all_also_those_in_use(engine: DockerEngine, image: str) -> None:
    pool = DockerPool(image, limits=SMALL, size=3, spare=1)
    sandbox = await pool.acquire()
    await pool.fresh()
    assert len(mine(engine)) >= 2
    await pool.close()
    await pool.close()
    assert mine(engine) == []
    with pytest.raises(SandboxError, match="gone"):
        await sandbox.exec("true")
    with pytest.raises(SandboxError, match="closed"):
        await pool.acquire()


@pytest.mark.docker
async def test_a_container_waits_ready(engine: DockerEngine, image: str) -> None:
    async with DockerPool(image, limits=SMALL, size=4, spare=1) as pool:
        await pool.warm(2)
        began = time.perf_counter()
        sandbox = await pool.acquire()
        # The goal is 10 ms; other work on the machine gets some slack here.
        assert time.perf_counter() - began < 0.1
        assert (await sandbox.exec("echo ready")).ok
