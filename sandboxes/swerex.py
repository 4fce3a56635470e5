"""Any SWE-ReX deployment as a sandbox: its cloud back ends (Modal, Fargate, Daytona) or its own.

What is isolated is what the deployment isolates: `LocalDeployment` and a bare `swerex-remote`
nothing, a container or cloud machine its processes and files; SWE-ReX itself gives neither limits
nor a closed network. A command costs a request over HTTP.

Weaker than `DockerSandbox` in three ways. A deadline ends what the command started in its own
session; a program that moved to another one lives until `reset`. A cancelled command runs on until
its deadline. And `reset` starts a new deployment, which takes as long as the first.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import errno
import os
import posixpath
import secrets
import shlex
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from agentrl.core import ExecResult, SandboxError
from agentrl.sandboxes import archive
from agentrl.sandboxes.base import script
from agentrl.sandboxes.channel import CHUNK

GRACE_SECONDS = 15.0
INLINE_BYTES = 64 << 10
# Arguments: command, seconds, bytes. The output goes through `dd` into a file: a background
# program that keeps it open must not keep the answer back.
RUN = """
d=$(mktemp -d) || exit 125
mkfifo "$d/pipe"
dd bs=64K iflag=count_bytes count=$(($3 + 1)) status=none <"$d/pipe" >"$d/out" & h=$!
s=$(date +%s%N)
setsid -w timeout -k 0.1 -s KILL "$2" bash -c "$1" bash </dev/null >"$d/pipe" 2>&1; c=$?
e=$(( ($(date +%s%N) - s) / 1000 ))
for _ in 1 2 3 4 5 6 7 8 9 10; do kill -0 $h 2>/dev/null || break; sleep 0.02; done
kill $h 2>/dev/null
printf '%s %s ' $c $e; base64 -w0 "$d/out"; rm -rf "$d"
"""
START = """
d=$(mktemp -d) && mkfifo "$d/in" "$d/out" && cd -- "$1" || exit 125
shift
sleep 100000000 <"$d/out" >/dev/null 2>&1 & echo $! >"$d/holder"
setsid bash -c 'echo $$ >"$0/pid"; exec "$@" <>"$0/in" >"$0/out" 2>"$0/err"' "$d" "$@" \
  </dev/null >/dev/null 2>&1 &
for _ in $(seq 100); do [ -s "$d/pid" ] && break; sleep 0.01; done
printf %s "$d"
"""
# The reader is there before the request is sent: an answer right before the end is not lost.
ASK = """
p=$(cat "$1/pid")
alive() { [ -d "/proc/$p" ] && ! grep -q '^State:.Z' "/proc/$p/status" 2>/dev/null; }
alive || { tail -c 2000 "$1/err"; exit 3; }
head -n 1 <"$1/out" >"$1/answer" & r=$!
cat "$1/request" >"$1/in" & w=$!
end=$(($(date +%s%N) + $2 * 1000000))
while kill -0 $r 2>/dev/null; do
  alive || sleep 0.05
  if [ "$(date +%s%N)" -gt $end ]; then kill $r $w 2>/dev/null; exit 124; fi
  if ! alive; then kill $w 2>/dev/null; sleep 0.05; kill $r 2>/dev/null; break; fi
  sleep 0.002
done
[ -s "$1/answer" ] && { cat "$1/answer"; exit 0; }
sleep 0.05; tail -c 2000 "$1/err"; exit 3
"""
END = 'kill -9 -- "-$(cat "$1/pid")" "$(cat "$1/holder")" 2>/dev/null; rm -rf "$1"'


class SwerexSandbox:
    """Implements `agentrl.core.Sandbox`; made by `SwerexSandbox.create`.

    Inside it needs bash, coreutils (`timeout`, `base64`, `mkfifo`), util-linux (`setsid`) and tar.
    """

    def __init__(self, make: Callable[[], Any], workdir: str) -> None:
        self.id = f"swerex-{secrets.token_hex(4)}"
        self.workdir = workdir
        self._make = make
        self._deployment: Any = None
        self._turn = asyncio.Lock()

    @classmethod
    async def create(cls, make: Callable[[], Any], *, workdir: str = "/work") -> SwerexSandbox:
        """Start a deployment.

        Args:
            make: makes one, such as `lambda: ModalDeployment(image="...")`; called for each reset.

        Raises:
            SandboxError: it does not start.
        """
        sandbox = cls(make, workdir)
        try:
            await sandbox._open()
        except BaseException:
            await sandbox.close()
            raise
        return sandbox

    async def exec(
        self,
        command: str,
        *,
        timeout: float = 60.0,
        max_output: int = 1 << 20,
        cwd: str | None = None,
        env: dict[str, str] | None = None,
    ) -> ExecResult:
        text = script(command, self.path(cwd or "."), env or {})
        async with self._turn:
            argv = ["bash", "-c", RUN, "bash", text, f"{timeout:g}", str(max_output)]
            said = (await self._run(argv, timeout)).stdout
        try:
            code, micros, encoded = said.split(" ")
            data = base64.b64decode(encoded)
        except ValueError as error:
            raise self._lost(f"its answer cannot be read: {said[:200]!r}") from error
        seconds = int(micros) / 1e6
        killed = int(code) in (124, 137) and seconds >= timeout
        return ExecResult(
            output=data[:max_output].decode("utf-8", "replace"),
            exit_code=124 if killed else int(code),
            timed_out=killed,
            truncated=len(data) > max_output,
            seconds=seconds,
        )

    async def start(self, argv: list[str], *, cwd: str | None = None) -> SwerexProgram:
        answer = await self._run(["bash", "-c", START, "bash", self.path(cwd or "."), *argv], 30.0)
        if answer.exit_code != 0:
            raise FileNotFoundError(errno.ENOENT, answer.stderr.strip(), cwd or self.workdir)
        return SwerexProgram(self, argv[0], answer.stdout)

    async def read(self, path: str, *, max_bytes: int = 8 << 20) -> bytes:
        """Raises OSError of the kind that fits; EFBIG when it is larger than `max_bytes`."""
        full = shlex.quote(self.path(path))
        look = (
            f"[ -d {full} ] && exit 21; [ -e {full} ] || exit 2; [ -r {full} ] || exit 13;"
            f"[ -f {full} ] || exit 22; head -c {max_bytes + 1} {full} | base64 -w0"
        )
        answer = await self._run(["bash", "-c", look], 60.0)
        if answer.exit_code != 0:
            raise OSError(answer.exit_code, os.strerror(answer.exit_code), path)
        data = base64.b64decode(answer.stdout)
        if len(data) > max_bytes:
            raise OSError(errno.EFBIG, f"larger than {max_bytes} bytes", path)
        return data

    async def write(self, path: str, data: bytes | str) -> None:
        full = self.path(path)
        raw = data.encode() if isinstance(data, str) else data
        if len(raw) <= INLINE_BYTES:
            await self._write_inline(path, full, raw)
            return
        with tempfile.NamedTemporaryFile() as file:
            file.write(raw)
            file.flush()
            await self._upload(Path(file.name), full)

    async def copy_in(self, source: Path, target: str) -> None:
        target = self.path(target)
        folder = target if source.is_dir() else posixpath.dirname(target)
        with tempfile.NamedTemporaryFile(suffix=".tar") as file:
            await asyncio.to_thread(archive.pack, Path(source), posixpath.basename(target), file)
            file.flush()
            there = f"/tmp/{secrets.token_hex(8)}.tar"
            await self._upload(Path(file.name), there)
            quoted = shlex.quote(folder)
            unpack = f"mkdir -p {quoted} && tar -C {quoted} -xf {there}; c=$?; rm {there}; exit $c"
            await self._checked(unpack, target, timeout=600.0)

    async def copy_out(self, source: str, target: Path) -> None:
        """Raises OSError: no such file, or more than the limits of `archive` (EFBIG)."""
        full = self.path(source)
        limit = archive.MAX_BYTES + (64 << 20)
        where, what = (full, ".")
        if (await self._run(["test", "-d", full], 60.0)).exit_code != 0:
            where, what = posixpath.split(full)
        name = shlex.quote(f"./{what}" if what != "." else what)
        place = f"cd -- {shlex.quote(where)} && [ -e {name} ] || exit 2"
        pack = f"{place}; tar -cf - -- {shlex.quote(what)} | head -c {limit + 1} | base64 -w0"
        answer = await self._checked(pack, source, timeout=600.0)
        with tempfile.SpooledTemporaryFile(32 << 20) as spool:
            for at in range(0, len(answer), 4 * CHUNK):
                spool.write(base64.b64decode(answer[at : at + 4 * CHUNK]))
            if spool.tell() > limit:
                raise OSError(errno.EFBIG, f"more than {archive.MAX_BYTES} bytes", source)
            spool.seek(0)
            await asyncio.to_thread(archive.unpack, spool, Path(target))

    async def reset(self) -> None:
        async with self._turn:
            if self._deployment is None:
                raise self._lost("it was closed")
            await self.close()
            await self._open()

    async def close(self) -> None:
        deployment, self._deployment = self._deployment, None
        if deployment is not None:
            # One that cannot be reached cannot be stopped from here either.
            with contextlib.suppress(SandboxError):
                await self._asked(deployment.stop)

    def path(self, path: str) -> str:
        """Absolute inside the sandbox."""
        if "\0" in path:
            raise ValueError("a path cannot contain a null character")
        return posixpath.normpath(posixpath.join(self.workdir, path))

    async def _open(self) -> None:
        self._deployment = self._make()
        await self._asked(self._deployment.start)
        await self._checked(f"mkdir -p {shlex.quote(self.workdir)}", self.workdir)

    async def _write_inline(self, path: str, full: str, raw: bytes) -> None:
        folder, file = shlex.quote(posixpath.dirname(full)), shlex.quote(full)
        data = base64.b64encode(raw).decode()
        text = f"[ -d {file} ] && exit 21; mkdir -p {folder} && base64 -d <<<{data!r} >{file}"
        await self._checked(text, path)

    async def _upload(self, source: Path, target: str) -> None:
        from swerex.runtime.abstract import UploadRequest

        request = UploadRequest(source_path=str(source), target_path=target)
        await self._asked(lambda: self._runtime().upload(request))

    async def _checked(self, text: str, path: str, *, timeout: float = 60.0) -> str:
        """Run a script of ours; its stdout. Raises OSError."""
        answer = await self._run(["bash", "-c", text], timeout)
        code = answer.exit_code
        if code == 0:
            return str(answer.stdout)
        if code in (2, 13, 21) and not answer.stderr:
            raise OSError(code, os.strerror(code), path)
        full = "No space left" in answer.stderr
        raise OSError(errno.ENOSPC if full else errno.EIO, answer.stderr.strip(), path)

    async def _run(self, argv: list[str], timeout: float) -> Any:
        from swerex.runtime.abstract import Command

        command = Command(command=argv, timeout=timeout + GRACE_SECONDS)
        return await self._asked(lambda: self._runtime().execute(command))

    def _runtime(self) -> Any:
        if self._deployment is None:
            raise self._lost("it was closed")
        return self._deployment.runtime

    async def _asked(self, call: Callable[[], Awaitable[Any]]) -> Any:
        """Whatever a deployment raises means that it cannot be used."""
        try:
            return await call()
        except (SandboxError, asyncio.CancelledError):
            raise
        except Exception as error:
            raise self._lost(f"{type(error).__name__}: {error}") from error

    def _lost(self, what: str) -> SandboxError:
        return SandboxError("sandbox_died", f"the deployment failed: {what}", where=self.id)


class SwerexProgram:
    """Implements `agentrl.core.Process` over two named pipes inside."""

    def __init__(self, sandbox: SwerexSandbox, name: str, folder: str) -> None:
        self._sandbox, self._name, self._folder = sandbox, name, folder
        self._ended = False
        self._lock = asyncio.Lock()

    async def request(self, line: str, *, timeout: float) -> str:
        if "\n" in line:
            raise ValueError("a request is one line")
        async with self._lock:
            if self._ended:
                raise EOFError(f"{self._name} was closed")
            file = f"{self._folder}/request"
            await self._sandbox.write(file, line + "\n")
            argv = ["bash", "-c", ASK, "bash", self._folder, str(int(timeout * 1000))]
            try:
                answer = await self._sandbox._run(argv, timeout)
            except asyncio.CancelledError:
                await asyncio.shield(self.close())
                raise
            if answer.exit_code == 124:
                await self.close()
                raise TimeoutError(f"{self._name} gave no answer within {timeout:g} s")
            if answer.exit_code != 0 or not answer.stdout.endswith("\n"):
                await self.close()
                raise EOFError(f"{self._name} ended: {answer.stdout.strip()}")
            return str(answer.stdout[:-1])

    async def close(self) -> None:
        if not self._ended:
            self._ended = True
            await self._sandbox._run(["bash", "-c", END, "bash", self._folder], 30.0)
