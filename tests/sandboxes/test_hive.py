"""Cells of one hive: apart from each other, gone when closed, and nothing inherited."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from agentrl.core import PYTEST_IMPORTS, SandboxError
from agentrl.sandboxes import DockerEngine, DockerPool, Hive, Limits
from agentrl.sandboxes.hive import Cell
from agentrl.sandboxes.owner import OWNER, owner

pytestmark = pytest.mark.docker

SMALL = Limits(memory_mb=96, work_mb=16, tmp_mb=8, pids=32)


@pytest.fixture
async def hive(engine: DockerEngine, image: str) -> AsyncIterator[Hive]:
    made = await Hive.create(engine, image, limits=SMALL)
    yield made
    await made.close()


async def groups(engine: DockerEngine, hive: Hive) -> list[str]:
    """The control groups of cells, as a process of the hive itself sees them."""

    def look() -> str:
        command = ["sh", "-c", "ls -d /run/agentrl/*/cell-* /run/agentrl/cell-* 2>/dev/null"]
        number = engine.api.exec_create(hive.id, command)["Id"]
        return str(engine.api.exec_start(number).decode())

    return (await engine.call(look)).split()


async def test_cells_neither_see_nor_touch_each_other(hive: Hive) -> None:
    one, two = await asyncio.gather(hive.cell(), hive.cell())
    await one.exec("echo secret >/work/s; echo secret >/tmp/s; echo secret >/dev/shm/s")
    await one.exec("sleep 300 & python3 -S -m http.server 8123 >/dev/null 2>&1 & sleep 0.5")
    look = (
        "find /work /tmp /dev/shm /home/agent -type f; ps -eo args= | grep -c '^sleep';"
        "python3 -S -c 'import socket; print(socket.socket().connect_ex((\"127.0.0.1\", 8123)))';"
        "cat /proc/sysvipc/shm | wc -l; ls /dev/pts; ls /run/agentrl /sys/fs/cgroup; hostname"
    )
    await one.exec("python3 -c 'import ctypes; ctypes.CDLL(None).shmget(7, 4096, 950)'")
    seen = (await two.exec(look)).output
    assert seen.startswith("0\n111\n1\nptmx\n")
    assert seen.endswith("sandbox\n")
    assert seen.count("Permission denied") == 2
    assert (await one.exec("cat /work/s")).output == "secret\n"


async def test_one_that_takes_all_it_can_leaves_the_other_its_share(hive: Hive) -> None:
    greedy, modest = await hive.cell(), await hive.cell()
    hog = "x = []\nwhile True: x.append(bytearray(b'x' * (1 << 20)))"
    await greedy.write("hog.py", hog)
    running = [
        asyncio.create_task(greedy.exec("python3 -S hog.py", timeout=60)),
        asyncio.create_task(modest.exec("python3 -S -c 'x = bytearray(60 << 20); print(len(x))'")),
    ]
    eaten, kept = await asyncio.gather(*running)
    assert eaten.exit_code == 137
    assert kept.output == f"{60 << 20}\n"
    bomb = asyncio.create_task(greedy.exec("f() { f | f & }; f; sleep 3", timeout=4))
    await asyncio.sleep(0.5)
    assert (await modest.exec("for i in 1 2 3 4 5; do (echo $i); done")).ok
    await bomb


async def test_what_a_cell_held_is_given_back(engine: DockerEngine, hive: Hive) -> None:
    cells = [await hive.cell() for _ in range(3)]
    await cells[0].exec("sleep 1000 & head -c 10000000 /dev/zero >big")
    assert len(await groups(engine, hive)) % 3 == 0 != len(await groups(engine, hive))
    for cell in cells:
        await cell.close()
        await cell.close()
    with pytest.raises(SandboxError, match="closed"):
        await cells[0].exec("true")
    for _ in range(50):
        if not await groups(engine, hive):
            break
        await asyncio.sleep(0.1)
    assert await groups(engine, hive) == []
    top = await engine.call(lambda: engine.api.top(hive.id))
    assert len(top["Processes"]) == 2, "the hive and its nursery"


async def test_a_reset_cell_is_a_new_one(hive: Hive) -> None:
    cell = await hive.cell()
    await cell.exec("touch left; sleep 1000 &")
    before = cell.id
    await cell.reset()
    assert (await cell.exec("ls -A; ps -eo args= | grep -c '^sleep'")).output == "0\n"
    assert cell.id == before


async def test_a_dead_hive_is_an_infrastructure_failure_and_the_pool_takes_another(
    engine: DockerEngine, image: str
) -> None:
    async with DockerPool(image, limits=SMALL, size=2, spare=0) as pool:
        cell = await pool.fresh()
        assert isinstance(cell, Cell)
        running = asyncio.create_task(cell.exec("sleep 60"))
        await asyncio.sleep(0.2)
        await engine.call(lambda: engine.api.kill(cell._hive.id))
        with pytest.raises(SandboxError) as caught:
            await running
        assert caught.value.cause == "sandbox_died"
        await pool.release(cell)
        another = await pool.fresh()
        assert (await another.exec("echo alive")).output == "alive\n"
        await pool.release(another)
        with pytest.raises(SandboxError):
            await another.exec("true")
    assert engine.api.containers(all=True, filters={"label": f"{OWNER}={owner()}"}) == []


async def test_where_a_hive_is_refused_containers_are_used(
    image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As AppArmor does it: what makes a cell is not allowed."""
    monkeypatch.setattr("agentrl.sandboxes.hive.CAPABILITIES", ["SETUID", "SETGID", "KILL"])
    async with DockerPool(image, limits=SMALL, size=2, spare=0) as pool:
        first = await pool.fresh()
        assert not isinstance(first, Cell)
        assert (await first.exec("echo alive")).ok
        await pool.release(first)
        second = await pool.fresh()
        assert second is not first
        await pool.release(second)


async def test_programs_start_warm_and_as_the_agent(engine: DockerEngine, image: str) -> None:
    hive = await Hive.create(engine, image, preload=PYTEST_IMPORTS)
    try:
        cell = await hive.cell()
        source = (
            "import sys\nloaded = 'pytest' in sys.modules\nfor line in sys.stdin:\n"
            "    import os\n    own = [n for n in sys.modules if n.startswith('agentrl')]\n"
            "    fds = os.listdir('/proc/self/fd')\n"
            "    print(loaded, os.getuid(), own, hash('x'), fds, flush=True)"
        )
        first, second = [await cell.start_python(source, preload=PYTEST_IMPORTS) for _ in range(2)]
        said = await first.request("", timeout=20)
        assert said.startswith("True 1000 [] ")
        assert said.endswith("['0', '1', '2', '3']")
        assert await second.request("", timeout=20) == said
        await first.close()
        await second.close()
    finally:
        await hive.close()
