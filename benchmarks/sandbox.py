"""What a sandbox costs, beside SWE-ReX, mini-swe-agent's Docker environment and `docker exec`.

    python benchmarks/sandbox.py [--json] [--image TAG] [--peers PYTHON] [--commands-only]

`--peers` names the Python of an environment that has `swe-rex` and `mini-swe-agent`; without it
they are left out. Where the engine has no bridge, SWE-ReX is reached over the host's network, and
16 at once are left out. All contenders run the same image in one run, one after the other; the
load average stands beside, for other work on the machine goes into all of them. Before each command
of `exec_ms` lie 5 ms, less than any policy needs for the next one; `burst_ms` is without them.
`--commands-only` leaves out resets, 16 at once and memory: a minute, where a machine is quiet for
no longer. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from agentrl.core import Sandbox
from agentrl.sandboxes import DockerEngine, DockerPool, DockerSandbox, Hive, Limits, ensure_image

Row = dict[str, float]
LIMITS = Limits(memory_mb=512, work_mb=64, tmp_mb=32)
PARALLEL, COMMANDS = 16, 10
PAUSE = 0.005
SERVER = """\
FROM {base}
USER 0
RUN printf '#!/bin/sh\\nexec python3 -m swerex.server "$@"\\n' >/usr/local/bin/swerex-remote \\
    && chmod 755 /usr/local/bin/swerex-remote
"""


async def timed(
    action: Callable[[], Awaitable[object]], count: int, pause: float = 0.0
) -> list[float]:
    """Milliseconds of each call, with `pause` seconds before it."""
    times = []
    for _ in range(count):
        await asyncio.sleep(pause)
        began = time.perf_counter()
        await action()
        times.append((time.perf_counter() - began) * 1e3)
    return times


def put(row: Row, name: str, times: list[float]) -> None:
    ordered = sorted(times)
    row[name] = statistics.median(ordered)
    row[f"{name}_min"] = ordered[0]
    row[f"{name}_p95"] = ordered[int(0.95 * (len(ordered) - 1))]


async def session(row: Row, make: Callable[[], Awaitable[Sandbox]], brief: bool) -> None:
    """Start, use, reset and close single sandboxes."""
    made: list[Sandbox] = []

    async def ready() -> None:
        made.append(await make())
        await made[-1].exec("true")

    put(row, "ready_ms", await timed(ready, 1 if brief else 5))
    sandbox = made[0]
    put(row, "exec_ms", await timed(lambda: sandbox.exec("echo hi"), 100, PAUSE))
    put(row, "burst_ms", await timed(lambda: sandbox.exec("echo hi"), 100))
    put(row, "write_ms", await timed(lambda: sandbox.write("file", b"x" * 1000), 50))
    put(row, "read_ms", await timed(lambda: sandbox.read("file"), 50))
    if brief:
        await sandbox.close()
        return
    resets = []
    for _ in range(10):
        await sandbox.exec("mkdir a; for i in {1..200}; do echo x >a/$i; done; sleep 99 &")
        resets += await timed(sandbox.reset, 1)
    put(row, "reset_ms", resets)
    rest = iter(made)
    put(row, "close_ms", await timed(lambda: next(rest).close(), len(made)))


async def parallel(row: Row, make: Callable[[], Awaitable[Sandbox]]) -> None:
    async def episode() -> None:
        sandbox = await make()
        for _ in range(COMMANDS):
            await sandbox.exec("echo hi")
        await sandbox.close()

    began = time.perf_counter()
    await asyncio.gather(*(episode() for _ in range(PARALLEL)))
    row["parallel_16_s"] = time.perf_counter() - began


def memory_mb(pids: list[int]) -> float:
    """Proportional set size of processes: pages that are shared count once among them."""
    total = 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        total += next(int(row.split()[1]) for row in text.splitlines() if row.startswith("Pss:"))
    return total / 1024


def processes(engine: DockerEngine, container: str) -> list[int]:
    """Of a container, with the shim that keeps it."""
    first = engine.api.inspect_container(container)["State"]["Pid"]
    shim = int(Path(f"/proc/{first}/stat").read_text().rpartition(")")[2].split()[1])
    found = engine.api.top(container, ps_args="-eo pid")["Processes"]
    return [shim, *(int(row[0]) for row in found)]


async def containers(engine: DockerEngine, image: str, brief: bool) -> Row:
    row: Row = {}

    async def make() -> DockerSandbox:
        return await DockerSandbox.create(engine, image, limits=LIMITS)

    await session(row, make, brief)
    if brief:
        return row
    await parallel(row, make)
    made = [await make() for _ in range(4)]
    row["memory_mb"] = sum(memory_mb(processes(engine, s.id)) for s in made) / len(made)
    for sandbox in made:
        await sandbox.close()
    return row


async def cells(engine: DockerEngine, image: str, brief: bool) -> Row:
    row: Row = {}
    hive = await Hive.create(engine, image, limits=LIMITS)
    await session(row, hive.cell, brief)
    if brief:
        await hive.close()
        return row
    await parallel(row, hive.cell)
    await asyncio.sleep(1)
    empty = memory_mb(processes(engine, hive.id))
    made = [await hive.cell() for _ in range(8)]
    row["memory_mb"] = (memory_mb(processes(engine, hive.id)) - empty) / len(made)
    await hive.close()
    return row


async def pooled(image: str, brief: bool) -> Row:
    """With everything started: what an episode waits for."""
    row: Row = {}
    count = 4 if brief else PARALLEL
    async with DockerPool(image, limits=LIMITS, size=count, spare=0) as pool:
        await pool.warm(count)
        await pool.release(await pool.fresh())
        taken: list[Sandbox] = []

        async def take(how: Callable[[], Awaitable[Sandbox]]) -> None:
            taken.append(await how())

        put(row, "ready_ms", await timed(lambda: take(pool.acquire), count))
        for sandbox in taken:
            await pool.release(sandbox)
        taken.clear()
        if brief:
            return row
        put(row, "fresh_ms", await timed(lambda: take(pool.fresh), PARALLEL))
        for sandbox in taken:
            await pool.release(sandbox)

        async def episode() -> None:
            sandbox = await pool.acquire()
            for _ in range(COMMANDS):
                await sandbox.exec("echo hi")
            await pool.release(sandbox)

        began = time.perf_counter()
        await asyncio.gather(*(episode() for _ in range(PARALLEL)))
        row["parallel_16_s"] = time.perf_counter() - began
    return row


async def docker_exec(engine: DockerEngine, image: str, brief: bool) -> Row:
    """The command line client, as scripts and scaffolds use it, on a container that sleeps."""
    environment = {**os.environ, "DOCKER_HOST": engine.host}

    def docker(*words: str) -> str:
        done = subprocess.run(
            ["docker", *words], capture_output=True, text=True, check=True, env=environment
        )
        return done.stdout.strip()

    row: Row = {}
    names: list[str] = []

    async def start() -> None:
        name = docker("run", "-d", "--rm", "--network=none", image, "sleep", "3600")
        names.append(name)
        docker("exec", name, "true")

    async def close() -> None:
        docker("rm", "-f", names.pop())

    count = 1 if brief else 5
    put(row, "ready_ms", await timed(start, count))

    async def echo() -> None:
        docker("exec", names[0], "sh", "-c", "echo hi")

    put(row, "exec_ms", await timed(echo, 30 if brief else 100, PAUSE))
    row["memory_mb"] = statistics.mean(memory_mb(processes(engine, name)) for name in names)
    put(row, "close_ms", await timed(close, count))
    row["reset_ms"] = row["ready_ms"] + row["close_ms"]
    return row


# The files of SWE-ReX and of all it needs, in the environment that runs this.
CLOSURE = """
import re, shutil, sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
todo, done = ["swe-rex"], set()
while todo:
    name = todo.pop()
    try: found = distribution(name)
    except PackageNotFoundError: continue
    if found.metadata["Name"] in done: continue
    done.add(found.metadata["Name"])
    todo += [re.match(r"[\\w.-]+", r)[0] for r in found.requires or () if "extra ==" not in r]
    for file in found.files or ():
        if ".." not in file.parts and "__pycache__" not in file.parts and file.locate().is_file():
            target = Path(sys.argv[1], file)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file.locate(), target)
"""


def image_for_peers(engine: DockerEngine, python: str) -> str:
    """Our image with SWE-ReX of the peers' environment, and its server, in it."""
    with tempfile.TemporaryDirectory() as site:
        subprocess.run([python, "-c", CLOSURE, site], check=True)
        below = ensure_image("bench", extra_site=Path(site), engine=engine)
    context = io.BytesIO()
    text = SERVER.format(base=below).encode()
    with tarfile.open(fileobj=context, mode="w") as archive:
        info = tarfile.TarInfo("Dockerfile")
        info.size = len(text)
        archive.addfile(info, io.BytesIO(text))
    context.seek(0)
    tag = below.replace("/bench:", "/bench-server:")
    said = list(engine.api.build(fileobj=context, custom_context=True, tag=tag, decode=True))
    if any("error" in event for event in said):
        raise SystemExit(f"the image for the peers was not built: {said[-1]}")
    return tag


def peers(python: str, image: str, brief: bool) -> dict[str, Row]:
    script = Path(__file__).with_name("sandbox_peers.py")
    rows: dict[str, Row] = {}
    for name in ("mini-swe-agent", "swe-rex"):
        done = subprocess.run(
            [python, str(script), name, image, *(["brief"] if brief else [])],
            stdout=subprocess.PIPE,
            text=True,
            timeout=900,
        )
        if done.returncode:
            print(f"{name} failed", flush=True)
            continue
        raw: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        row: Row = {}
        for key, value in raw.items():
            if isinstance(value, list):
                put(row, key, value)
            else:
                row[key] = value
        if "reset_ms" not in row:
            row["reset_ms"] = row["ready_ms"] + row["close_ms"]
        rows[name] = row
    return rows


def show(rows: dict[str, Row]) -> None:
    columns = ("ready_ms", "exec_ms", "exec_ms_min", "exec_ms_p95", "burst_ms", "reset_ms",
               "close_ms", "write_ms", "read_ms", "parallel_16_s", "memory_mb")  # fmt: skip
    print(f"{'':16s}" + "".join(f"{name:>14s}" for name in columns))
    for name, row in rows.items():
        cells = (f"{row[column]:14.2f}" if column in row else f"{'-':>14s}" for column in columns)
        print(f"{name:16s}" + "".join(cells))


async def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--image")
    parser.add_argument("--peers", metavar="PYTHON")
    parser.add_argument("--commands-only", dest="brief", action="store_true")
    parser.add_argument("--json", action="store_true", help="only the last line")
    options = parser.parse_args()
    engine = DockerEngine()
    image = options.image or ensure_image(engine=engine)
    if options.peers:
        image = image_for_peers(engine, options.peers)
    loads = [os.getloadavg()[0]]
    brief = options.brief
    rows = {"container": await containers(engine, image, brief)}
    rows["cell"] = await cells(engine, image, brief)
    rows["pool"] = await pooled(image, brief)
    rows["docker exec"] = await docker_exec(engine, image, brief)
    if options.peers:
        rows.update(peers(options.peers, image, brief))
    loads.append(os.getloadavg()[0])
    engine.close()
    if not options.json:
        show(rows)
    print(json.dumps({"image": image, "load": loads, "cores": os.cpu_count(), "rows": rows}))


if __name__ == "__main__":
    asyncio.run(main())
