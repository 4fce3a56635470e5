"""A helper process for checks that may hang, grow or crash: symbolic algebra, solvers.

The answer comes from a model. A computer-algebra system that is asked to expand (x+1)^10^9 does
not come back; a thread cannot be ended, a process can. One JSON line goes in, one comes out.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import subprocess
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import import_module
from typing import Any

from agentrl.core import InfraError

_START_SECONDS = 120.0
_MEMORY = 4 << 30
_PATIENCE = 20.0


class Worker:
    """Calls `module:function(**arguments)` in a process of its own; one call at a time.

    The process starts with the first call and stays; a call over its deadline ends it. Deadlines
    are in processor time, so that a verdict does not depend on how busy the machine is.
    Functions take and return JSON-able values. The module's `ready()`, if it has one, is called
    first in a new process: what it imports there is not on the first answer's deadline.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def call(self, function: str, seconds: float, **arguments: Any) -> Any:
        """The function's answer.

        Raises:
            TimeoutError: none within `seconds` of processor time (or twenty times that of wall
                time), or the process ran out of memory: the input's doing. RuntimeError: the
                function raised (its message).
            InfraError: the process cannot be started.
        """
        with self._lock:
            process = self._running(function.partition(":")[0])
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                line = json.dumps([function, arguments, seconds]) + "\n"
                process.stdin.write(line.encode())
                process.stdin.flush()
                answer = self._line(process, _PATIENCE * seconds)
            except (TimeoutError, BrokenPipeError, EOFError):
                self._end()
                raise TimeoutError(f"no result within {seconds:g} s") from None
        kind, value = json.loads(answer)
        if kind == "raised":
            raise RuntimeError(value)
        return value

    def _running(self, module: str) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                [sys.executable, "-c", f"from {__name__} import serve; serve()"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
            )
            weakref.finalize(self, _kill, self._process)
            try:
                self._line(self._process, _START_SECONDS)
                assert self._process.stdin is not None
                self._process.stdin.write((json.dumps([f"{module}:ready", {}, 0]) + "\n").encode())
                self._process.stdin.flush()
                self._line(self._process, _START_SECONDS)
            except (TimeoutError, BrokenPipeError, EOFError) as error:
                self._end()
                raise InfraError("verifier_down", "a verifier's process does not start") from error
        return self._process

    @staticmethod
    def _line(process: subprocess.Popen[bytes], seconds: float) -> bytes:
        """The next line of its output. It writes one line a call, so nothing waits in the buffer
        beyond it."""
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], seconds)
        if not ready:
            raise TimeoutError
        line = process.stdout.readline()
        if not line.endswith(b"\n"):
            raise EOFError
        return line

    def _end(self) -> None:
        if self._process is not None:
            _kill(self._process)
            self._process = None


class Workers:
    """A few workers and a queue before them: calls that wait hold no thread of anybody else's."""

    def __init__(self, count: int = 2) -> None:
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="verifier")
        self._mine = threading.local()

    async def call(self, function: str, seconds: float, **arguments: Any) -> Any:
        """As `Worker.call`; `seconds` count from when a worker takes it."""
        work = partial(self._call, function, seconds, **arguments)
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def _call(self, function: str, seconds: float, **arguments: Any) -> Any:
        if not hasattr(self._mine, "worker"):
            self._mine.worker = Worker()
        return self._mine.worker.call(function, seconds, **arguments)


def _kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


def serve() -> None:
    """The process: read calls from standard input until it closes."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not look like an answer
    answers.write(b"ready\n")
    answers.flush()
    for line in sys.stdin:
        name, arguments, seconds = json.loads(line)
        module, _, function = name.partition(":")
        try:
            missing_ready = function == "ready" and not hasattr(import_module(module), function)
            found = int if missing_ready else getattr(import_module(module), function)
            # Its default action ends the process, in the midst of any computation.
            signal.setitimer(signal.ITIMER_PROF, seconds)
            answer: list[Any] = ["is", found(**arguments)]
        except MemoryError:
            os._exit(1)
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller is told
            answer = ["raised", f"{type(error).__name__}: {error}"[:500]]
        signal.setitimer(signal.ITIMER_PROF, 0)
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()
