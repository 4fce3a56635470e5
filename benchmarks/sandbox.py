"""What a sandbox costs, on this machine now: `python benchmarks/sandbox.py [IMAGE]`.

Milliseconds, median (fastest) of many; the load average stands beside each, for other work on the
machine goes into all of them. `docker exec` is measured on the same container.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import time
from collections.abc import Awaitable, Callable

from agentrl.sandboxes import DockerEngine, DockerPool, DockerSandbox, ensure_image

Action = Callable[[], Awaitable[object]]


def show(name: str, times: list[float]) -> None:
    median, load = statistics.median(times) * 1e3, os.getloadavg()[0]
    print(f"{name:44s} {median:9.2f} ({min(times) * 1e3:.2f})   load {load:.1f}", flush=True)


async def measure(name: str, action: Action, count: int, pause: float = 0.0) -> None:
    times = []
    for _ in range(count):
        await asyncio.sleep(pause)
        began = time.perf_counter()
        await action()
        times.append(time.perf_counter() - began)
    show(name, times)


async def commands(engine: DockerEngine, sandbox: DockerSandbox) -> None:
    program = await sandbox.start(["cat"])
    await measure("exec echo, one after the other", lambda: sandbox.exec("echo hi"), 200)
    await measure("exec echo, 20 ms between", lambda: sandbox.exec("echo hi"), 100, 0.02)
    await measure("line to a kept program", lambda: program.request("hi", timeout=5), 200)
    await measure("write 1 kB", lambda: sandbox.write("file", b"x" * 1000), 100)
    await measure("read 1 kB", lambda: sandbox.read("file"), 100)

    async def docker_exec() -> None:
        def run() -> None:
            number = engine.api.exec_create(sandbox.id, ["echo", "hi"])["Id"]
            engine.api.exec_start(number)

        await engine.call(run)

    await measure("docker exec echo", docker_exec, 20)


async def resets(sandbox: DockerSandbox) -> None:
    times = []
    for _ in range(20):
        await sandbox.exec("mkdir a; for i in {1..200}; do echo x >a/$i; done; sleep 99 &")
        began = time.perf_counter()
        await sandbox.reset()
        times.append(time.perf_counter() - began)
    show("reset after 200 files and a process", times)


async def pooled(image: str) -> None:
    async with DockerPool(image, size=16, spare=0) as pool:
        await pool.warm(1)
        times = []
        for _ in range(20):
            began = time.perf_counter()
            sandbox = await pool.acquire()
            times.append(time.perf_counter() - began)
            await pool.release(sandbox)
        show("ready from the pool", times)

        async def episode() -> None:
            sandbox = await pool.acquire()
            for _ in range(10):
                await sandbox.exec("echo hi")
            await pool.release(sandbox)

        for name in ("16 at once, cold: start and 10 exec", "16 at once, warm: 10 exec and reset"):
            began = time.perf_counter()
            await asyncio.gather(*(episode() for _ in range(16)))
            show(name, [time.perf_counter() - began])


async def main() -> None:
    engine = DockerEngine()
    image = sys.argv[1] if len(sys.argv) > 1 else ensure_image(engine=engine)
    made: list[DockerSandbox] = []

    async def start() -> None:
        made.append(await DockerSandbox.create(engine, image))

    await measure("start a container", start, 5)
    try:
        await commands(engine, made[0])
        await resets(made[0])
    finally:
        rest = iter(made)
        await measure("close a container", lambda: next(rest).close(), len(made))
    await pooled(image)
    engine.close()


if __name__ == "__main__":
    asyncio.run(main())
