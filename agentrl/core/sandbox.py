"""The sandbox protocol: where an agent's commands run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

# What every pytest imports at its start; for `WarmPython`.
PYTEST_IMPORTS = """
import importlib, pdb, doctest, unittest.mock
import pytest, _pytest.config, _pytest.unittest
for name in (*_pytest.config.essential_plugins, *_pytest.config.default_plugins):
    importlib.import_module("_pytest." + name)
"""


@dataclass(slots=True)
class ExecResult:
    """What a command came to.

    Attributes:
        output: stdout and stderr as they came, decoded with replacement, at most the limit.
        exit_code: the command's; 124 when the deadline ended it; 128 + n for signal n.
        timed_out: the deadline ended it. Nothing of it is left running.
        truncated: it printed more than the limit; the rest was thrown away.
        seconds: wall time.
    """

    output: str
    exit_code: int
    timed_out: bool = False
    truncated: bool = False
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        return self.exit_code == 0


@runtime_checkable
class Process(Protocol):
    """A program kept running in a sandbox and spoken to line by line."""

    async def request(self, line: str, *, timeout: float) -> str:
        """Send one line, return the one line that answers it (both without the newline).

        Raises:
            TimeoutError: no answer within `timeout` seconds; the process has been killed.
            EOFError: the process ended (it may have been killed from inside the sandbox).
        """
        ...

    async def close(self) -> None: ...


@runtime_checkable
class Sandbox(Protocol):
    """An isolated place with a working directory.

    All paths are absolute inside the sandbox or relative to `workdir`. Every method raises
    `SandboxError` when the sandbox itself is gone; a failing command is an `ExecResult`.
    """

    id: str
    workdir: str

    async def exec(
        self,
        command: str,
        *,
        timeout: float = 60.0,
        max_output: int = 1 << 20,
        cwd: str | None = None,
        env: dict[str, str] | None = None,
    ) -> ExecResult:
        """Run a shell command (bash) to its end, its deadline (seconds) or its output limit
        (bytes); shell state (cd, export) does not carry over to the next call."""
        ...

    async def start(self, argv: list[str], *, cwd: str | None = None) -> Process:
        """Start a program that stays, speaking lines over stdin and stdout."""
        ...

    async def read(self, path: str, *, max_bytes: int = 8 << 20) -> bytes:
        """Read one file. Raises FileNotFoundError, IsADirectoryError."""
        ...

    async def write(self, path: str, data: bytes | str) -> None:
        """Write one file, making its parents."""
        ...

    async def copy_in(self, source: Path, target: str) -> None:
        """Copy a host file or folder (its contents) to `target` inside."""
        ...

    async def copy_out(self, source: str, target: Path) -> None:
        """Copy a file or folder (its contents) from inside to the host.

        Links that lead outside `target`, devices and sockets are left out: what comes out of a
        sandbox is hostile.
        """
        ...

    async def reset(self) -> None:
        """Back to the state right after creation: no process, no file of the last episode."""
        ...

    async def close(self) -> None:
        """Remove it; safe to call twice."""
        ...


@runtime_checkable
class WarmPython(Protocol):
    """A sandbox that can start Python programs from a process that has imported things already.

    Attributes:
        pythons: the names of the interpreter that it does this for.
    """

    pythons: frozenset[str]

    async def start_python(
        self, source: str, *, preload: str = "", cwd: str | None = None
    ) -> Process:
        """Start a program as `python -s -S -c source` would: no `site`, installed packages on the
        path, no PYTHON* variables but a hash seed of 0.

        Args:
            preload: Python text of trusted imports that only read the image; run once per text in
                the sandbox, before any program, out of the agent's reach, and kept by `reset`.
        """
        ...


@runtime_checkable
class SandboxProvider(Protocol):
    """Where environments get sandboxes from; shared by many episodes on one event loop.

    Every method raises `SandboxError` when no sandbox can be had.
    """

    async def acquire(self) -> Sandbox:
        """A sandbox in its initial state; waits while all are in use."""
        ...

    async def fresh(self) -> Sandbox:
        """A sandbox that nobody has used before, for grading. Given back with `release` too."""
        ...

    async def release(self, sandbox: Sandbox) -> None:
        """Give one back, whatever state it is in; safe to call twice."""
        ...

    async def close(self) -> None:
        """Remove every sandbox, also those in use; safe to call twice."""
        ...
