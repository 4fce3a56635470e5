"""A SWE-ReX deployment behind the sandbox protocol, over the HTTP that its cloud back ends use."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from agentrl.core import Process, Sandbox, SandboxError
from agentrl.sandboxes.swerex import SwerexSandbox


@pytest.fixture(scope="module")
def server() -> Iterator[int]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "swerex.server", "--host", "127.0.0.1", "--port", str(port),
         "--auth-token", "word"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with socket.socket() as knocker:
            if knocker.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.1)
    yield port
    process.kill()
    process.wait()


@pytest.fixture
async def sandbox(server: int, tmp_path: Path) -> AsyncIterator[SwerexSandbox]:
    from swerex.deployment.remote import RemoteDeployment

    def make() -> object:
        return RemoteDeployment(host="http://127.0.0.1", port=server, auth_token="word")

    made = await SwerexSandbox.create(make, workdir=str(tmp_path / "work"))
    yield made
    await made.close()


async def test_commands(sandbox: SwerexSandbox) -> None:
    assert isinstance(sandbox, Sandbox)
    result = await sandbox.exec("echo one; echo two >&2; exit 7")
    assert (result.output, result.exit_code, result.ok) == ("one\ntwo\n", 7, False)
    await sandbox.write("a b/x", "")
    result = await sandbox.exec('ls; printf %s "$V"', cwd="a b", env={"V": "it's $HOME\n"})
    assert result.output == "x\nit's $HOME\n"
    assert (await sandbox.exec("echo no", cwd="nowhere")).exit_code == 1


async def test_deadlines_and_floods(sandbox: SwerexSandbox) -> None:
    result = await sandbox.exec("echo begun; trap '' TERM INT; sleep 71.3; sleep 71.3", timeout=0.5)
    assert (result.output, result.exit_code, result.timed_out) == ("begun\n", 124, True)
    flood = await sandbox.exec("yes flooding", timeout=20, max_output=1000)
    assert (len(flood.output), flood.truncated, flood.timed_out) == (1000, True, False)
    began = time.monotonic()
    held = await sandbox.exec("sleep 3 & echo started", timeout=20)
    assert (held.output, time.monotonic() - began < 2.5) == ("started\n", True)
    assert (await sandbox.exec("ps -eo args= | grep -c '^sleep 71[.]3'")).output == "0\n"


async def test_files(sandbox: SwerexSandbox, tmp_path: Path) -> None:
    data = bytes(range(256)) * 1000
    for size in (0, 10, len(data)):
        await sandbox.write(f"deep/-f {size}", data[:size])
        assert await sandbox.read(f"deep/-f {size}") == data[:size]
    with pytest.raises(FileNotFoundError):
        await sandbox.read("missing")
    with pytest.raises(IsADirectoryError):
        await sandbox.read("deep")
    with pytest.raises(IsADirectoryError):
        await sandbox.write("deep", "x")
    with pytest.raises(OSError, match="larger than"):
        await sandbox.read("deep/-f 10", max_bytes=3)


async def test_folders(sandbox: SwerexSandbox, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "run.sh").write_text("#!/bin/sh\necho ran\n")
    (source / "run.sh").chmod(0o755)
    (source / "sub" / "data").write_bytes(os.urandom(1 << 20))
    await sandbox.copy_in(source, "copy")
    assert (await sandbox.exec("copy/run.sh; ln -s / copy/out")).output == "ran\n"
    await sandbox.copy_out("copy", tmp_path / "back")
    assert (tmp_path / "back/sub/data").read_bytes() == (source / "sub/data").read_bytes()
    assert not (tmp_path / "back/out").exists(), "a link that leads outside"
    await sandbox.copy_in(source / "run.sh", "x/renamed.sh")
    await sandbox.copy_out("x/renamed.sh", tmp_path / "one")
    assert (tmp_path / "one").read_text() == "#!/bin/sh\necho ran\n"
    with pytest.raises(FileNotFoundError):
        await sandbox.copy_out("missing", tmp_path / "never")


async def test_programs_that_stay(sandbox: SwerexSandbox) -> None:
    code = "import sys\nfor l in sys.stdin: print(l.strip()[::-1], flush=True)"
    program = await sandbox.start(["python3", "-c", code])
    assert isinstance(program, Process)
    assert await program.request("abc", timeout=20) == "cba"
    big = "x" * 300_000
    assert await program.request(big, timeout=20) == big
    await program.close()
    with pytest.raises(EOFError):
        await program.request("again", timeout=1)
    silent = await sandbox.start(["sleep", "74.4"])
    with pytest.raises(TimeoutError):
        await silent.request("hello", timeout=0.3)
    dead = await sandbox.start(["sh", "-c", "read x; echo why >&2; exit 3"])
    with pytest.raises(EOFError):
        await dead.request("hello", timeout=10)
    assert (await sandbox.exec("ps -eo args= | grep -c '^sleep 74[.]4'")).output == "0\n"


async def test_a_lost_deployment_is_infrastructure(sandbox: SwerexSandbox) -> None:
    deployment = sandbox._deployment
    deployment._runtime._config.port = 1
    with pytest.raises(SandboxError) as caught:
        async with asyncio.timeout(60):
            await sandbox.exec("true")
    assert caught.value.cause == "sandbox_died"
    await sandbox.close()
    await sandbox.close()
    with pytest.raises(SandboxError, match="closed"):
        await sandbox.exec("true")
