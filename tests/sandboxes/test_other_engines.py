"""Engines other than the local Docker daemon: Podman behind Docker's API, a daemon behind a URL."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from agentrl.sandboxes import DockerEngine, DockerPool, DockerSandbox, Hive, Limits, ensure_image
from agentrl.sandboxes.hive import Cell
from agentrl.sandboxes.owner import OWNER

sys.path.insert(0, str(Path(__file__).parents[1] / "faults"))

from own_dockerd import OwnEngine

SMALL = Limits(memory_mb=128, work_mb=16, tmp_mb=8, pids=32)


@pytest.fixture(scope="module")
def podman() -> Iterator[str]:
    """The URL of a Podman service of the test's own."""
    if shutil.which("podman") is None:
        pytest.skip("Podman is not installed: apt-get install podman")
    folder = Path(tempfile.mkdtemp(prefix="podman-"))  # Podman's paths may have 50 characters
    command = ["podman", f"--root={folder}/root", f"--runroot={folder}/run",
               "--cgroup-manager=cgroupfs", "--events-backend=file"]  # fmt: skip
    service = subprocess.Popen(
        [*command, "system", "service", "--time=0", f"unix://{folder}/sock"],
        cwd=folder,  # where it leaves files of its own
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    until = time.monotonic() + 30
    while not (folder / "sock").exists():
        assert time.monotonic() < until, "the Podman service did not come up"
        time.sleep(0.1)
    yield f"unix://{folder}/sock"
    service.terminate()
    service.wait(20)
    subprocess.run([*command, "system", "reset", "--force"], capture_output=True, check=False)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
async def pod(podman: str) -> AsyncIterator[DockerSandbox]:
    engine = await asyncio.to_thread(DockerEngine, podman)
    image = await asyncio.to_thread(ensure_image, engine=engine)
    made = await DockerSandbox.create(engine, image, limits=SMALL)
    yield made
    await made.close()
    for _ in range(50):
        found = engine.api.containers(all=True, filters={"label": OWNER})
        if not found:
            break
        await asyncio.sleep(0.1)
    assert found == []
    engine.close()


@pytest.mark.docker
async def test_podman_isolates_as_docker_does(pod: DockerSandbox) -> None:
    assert pod._engine.podman
    assert pod._channel._replaced is not None, "the socket past the engine's relays is taken"
    status = (await pod.exec("id -u; cat /proc/self/status")).output
    assert status.startswith("1000\n")
    for line in ("CapEff:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"):
        assert line in status
    assert "Read-only" in (await pod.exec("touch /x /usr/bin/x /etc/x")).output
    assert (await pod.exec("ls /sys/class/net")).output == "lo\n"
    full = await pod.exec("cat /dev/zero >/work/fill")
    assert "No space left" in full.output
    bomb = await pod.exec("f() { f | f & }; f; sleep 30", timeout=2, max_output=1 << 20)
    assert bomb.seconds < 15
    await pod.exec("touch left /tmp/left /var/tmp/left /home/agent/left; sleep 300 &")
    await pod.reset()
    look = (
        "find /work /tmp /var/tmp /home/agent /dev/shm -mindepth 1; ps -eo args= | grep -c ^sleep"
    )
    assert (await pod.exec(look)).output == "0\n"
    hog = await pod.exec("python3 -S -c 'x = bytearray(b\"x\" * (200 << 20))'", timeout=30)
    assert hog.exit_code == 137
    assert (await pod.exec("echo alive")).output == "alive\n"
    await pod.write("data", bytes(range(256)))
    assert await pod.read("data") == bytes(range(256))


RIGHTS = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
for namespace in (0x10000000, 0x20000, 0x40000000, 0x20000000):  # user, mount, network, process
    pid = os.fork()
    if pid == 0:
        os._exit(libc.unshare(namespace) == 0)
    print(os.waitpid(pid, 0)[1], end="")
print(libc.mount(b"none", b"/work", b"tmpfs", 0, None))
"""


@pytest.mark.docker
async def test_nobody_on_podman_makes_a_namespace(pod: DockerSandbox) -> None:
    await pod.write("rights.py", RIGHTS)
    assert (await pod.exec("python3 rights.py")).output == "0000-1\n"
    shell = await pod.exec("python3 -c 'import threading; threading.Thread().start()'; (echo sub)")
    assert shell.output == "sub\n"


@pytest.mark.docker
@pytest.mark.timeout(300)
async def test_cells_on_podman_leave_each_other_nothing(podman: str) -> None:
    engine = await asyncio.to_thread(DockerEngine, podman)
    image = await asyncio.to_thread(ensure_image, engine=engine)
    hive = await Hive.create(engine, image, limits=SMALL)
    try:
        one, other = await hive.cell(), await hive.cell()
        every = "find / -xdev -type d 2>/dev/null"
        tries = f"for d in $({every}) /var/tmp; do : >$d/left; done 2>/dev/null"
        await one.exec(tries, timeout=60)
        assert (await one.exec("ls left")).output == "left\n"
        assert (await other.exec(f"find $({every}) /var/tmp -name left 2>/dev/null")).output == ""
    finally:
        await hive.close()
        engine.close()


@pytest.mark.docker
@pytest.mark.timeout(300)
async def test_a_pool_on_podman(podman: str) -> None:
    async with DockerPool(limits=SMALL, size=2, spare=0, host=podman) as pool:
        sandbox = await pool.acquire()
        assert (await sandbox.exec("echo working")).output == "working\n"
        fresh = await pool.fresh()
        assert (await fresh.exec("echo graded")).output == "graded\n"
        await pool.release(fresh)
        await pool.release(sandbox)


@pytest.mark.docker
@pytest.mark.timeout(300)
async def test_a_daemon_elsewhere_is_named_by_its_url(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = await asyncio.to_thread(OwnEngine(port).start)
    try:
        async with DockerPool(limits=SMALL, size=2, spare=0, host=own.tcp) as pool:
            sandbox = await pool.acquire()
            (tmp_path / "in").mkdir()
            (tmp_path / "in/file").write_bytes(b"x" * (3 << 20))
            await sandbox.copy_in(tmp_path / "in", "there")
            assert (await sandbox.exec("stat -c %s there/file")).output == f"{3 << 20}\n"
            await sandbox.copy_out("there", tmp_path / "out")
            assert (tmp_path / "out/file").read_bytes() == (tmp_path / "in/file").read_bytes()
            fresh = await pool.fresh()
            assert isinstance(fresh, Cell)
            assert (await fresh.exec("echo graded")).output == "graded\n"
        engine = DockerEngine(own.tcp)
        assert engine.api.containers(all=True) == []
        engine.close()
    finally:
        await asyncio.to_thread(own.close)
