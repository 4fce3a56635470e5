"""Ask the warm pytest of a sandbox: one fork per run instead of one interpreter start."""

from __future__ import annotations

import asyncio
import functools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from agentrl.core import (
    PYTEST_IMPORTS,
    InfraError,
    Process,
    Sandbox,
    SandboxError,
    WarmPython,
)

_START_SECONDS = 60.0
# On top of the deadline that the server itself keeps.
_GRACE_SECONDS = 10.0
# "" on the path would be the current directory; the server is an argument, so no file to change.
_PRELUDE = (
    "import sys; sys.path[:] = filter(None, sys.path); "
    "exec(compile(sys.argv.pop(), 'pytest_server', 'exec'))"
)
_PROGRAM = """\
import sys, types
sources = {sources!r}
for name, source in sources.items():
    module = sys.modules[name] = types.ModuleType(name)
    exec(compile(source, name, "exec"), module.__dict__)
for name in sources:
    del sys.modules[name]
module.main()
"""
_CLEARED = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONINSPECT", "PYTHONPYCACHEPREFIX")


@dataclass(slots=True)
class Failure:
    """Why a test did not pass.

    Attributes:
        when: "setup", "call", "teardown" or "collect".
        frames: (path, line, source) from the test to where it was raised; paths inside the
            repository are relative to it.
        message: the lines that pytest marks with `E`, without the mark.
    """

    id: str
    when: str
    frames: list[tuple[str, int, str]]
    message: list[str]


@dataclass(slots=True)
class TestReport:
    """What a run of pytest came to.

    Attributes:
        counts: number of tests by outcome; outcomes that did not occur are absent.
        outcomes: node id -> "passed", "failed", "error" or "skipped"; expected failures count
            as skipped. A file that cannot be imported is an "error" under its own path.
        failures: the first few, in the order they came.
        exit_code: pytest's own (0 all passed, 1 failures, 4 usage, 5 nothing collected); 124
            when the deadline ended it; 128 + n when signal n did; 128 when it left by itself.
        error: why there is no complete result, "" when there is one.
    """

    __test__ = False

    counts: dict[str, int] = field(default_factory=dict)
    outcomes: dict[str, str] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    exit_code: int = 0
    seconds: float = 0.0
    timed_out: bool = False
    error: str = ""

    @property
    def ok(self) -> bool:
        """At least one test passed, and none did anything else than pass or be skipped."""
        return self.exit_code == 0 and not self.error and self.counts.get("passed", 0) > 0


class PytestClient:
    """Runs tests in a sandbox through a pytest that stays loaded.

    Nothing of the repository can influence its start: see `pytest_server`. The repository's ini
    file and `addopts` are ignored, hash seed and `random` are fixed, plugins installed in the
    sandbox's Python are active.

    Args:
        python: the interpreter inside the sandbox, 3.9 or newer, that can import pytest.
    """

    def __init__(self, sandbox: Sandbox, *, python: str = "python3") -> None:
        self._sandbox, self._python = sandbox, python
        self._process: Process | None = None
        self._lock = asyncio.Lock()

    async def run(
        self,
        root: str,
        targets: Sequence[str] = (),
        *,
        args: Sequence[str] = (),
        timeout: float = 60.0,
        cpu: float | None = None,
        env: Mapping[str, str] | None = None,
        noconftest: bool = False,
        max_failures: int = 5,
    ) -> TestReport:
        """Run pytest in a repository.

        Args:
            root: absolute path of the repository inside the sandbox.
            targets: files, folders or node ids relative to `root`; empty: everything. pytest
                runs nothing at all when one of them does not exist.
            args: further options, such as ("-k", "clamp").
            timeout: seconds; what was found until then is in the report.
            cpu: seconds of processor time, rounded up, of the process that runs the tests: what
                ends an endless loop early, also where many share the processor. None: no limit.
            env: environment variables of this run; PYTHONPATH is honoured.
            max_failures: how many failures are described; all are counted.

        Raises:
            SandboxError: the sandbox is gone.
            InfraError: pytest cannot be started in it.
        """
        if not 0 < timeout < math.inf:
            raise ValueError(f"timeout is {timeout}, not a number of seconds")
        request = {
            "root": root,
            "targets": list(targets),
            "args": list(args),
            "timeout": timeout,
            "cpu": cpu and math.ceil(cpu),
            "env": dict(env or {}),
            "noconftest": noconftest,
            "max_failures": max_failures,
        }
        async with self._lock:
            try:
                reply = await self._request(json.dumps(request), timeout + _GRACE_SECONDS)
            except TimeoutError:
                return _lost("the test server did not answer in time", timeout)
            except EOFError:
                return _lost("the tests killed the test server")
        return _report(reply)

    async def modules(self) -> set[str]:
        """What the parent has imported; for checking that nothing of a repository is there."""
        async with self._lock:
            return set(json.loads(await self._request("{}", _START_SECONDS))["modules"])

    async def close(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            await process.close()

    async def _request(self, line: str, timeout: float) -> str:
        """Ask, starting the server when there is none, or when it died since the last run."""
        if self._process is not None:
            try:
                return await self._ask(line, timeout)
            except EOFError:
                self._process = None
        self._process = await self._start()
        return await self._ask(line, timeout)

    async def _ask(self, line: str, timeout: float) -> str:
        assert self._process is not None
        try:
            return await self._process.request(line, timeout=timeout)
        except (TimeoutError, EOFError, asyncio.CancelledError):
            self._process = None
            raise

    async def _start(self) -> Process:
        process = await self._begun()
        try:
            await process.request("{}", timeout=_START_SECONDS)
        except SandboxError:
            raise
        except (EOFError, TimeoutError) as error:
            raise InfraError(
                "pytest_unavailable",
                f"pytest does not start in the sandbox: {error}",
                where=f"sandbox {self._sandbox.id}",
                fix=f"install pytest for `{self._python}` in the sandbox's image",
            ) from error
        return process

    async def _begun(self) -> Process:
        sandbox = self._sandbox
        if isinstance(sandbox, WarmPython) and self._python in sandbox.pythons:
            return await sandbox.start_python(_server_source(), preload=PYTEST_IMPORTS, cwd="/")
        unset = [word for name in _CLEARED for word in ("-u", name)]
        interpreter = [self._python, "-s", "-S", "-B", "-c", _PRELUDE, _server_source()]
        return await sandbox.start(["env", *unset, "PYTHONHASHSEED=0", *interpreter], cwd="/")


@functools.lru_cache(maxsize=1)
def _server_source() -> str:
    """Both modules of the server as one program, which leaves no trace of them in `sys.modules`."""
    package = resources.files("agentrl.tools")
    names = ("pytest_codes", "pytest_server")
    sources = {f"agentrl.tools.{n}": package.joinpath(f"{n}.py").read_text("utf-8") for n in names}
    return _PROGRAM.format(sources=sources)


def _lost(error: str, waited: float | None = None) -> TestReport:
    """Without an answer; `waited`: the seconds after which it was given up."""
    if waited is None:
        return TestReport(exit_code=137, error=error)
    return TestReport(exit_code=124, seconds=waited, timed_out=True, error=error)


def _report(reply: str) -> TestReport:
    """Read the server's answer; tests may have tampered with it, so nothing is taken as typed."""
    try:
        data: dict[str, Any] = json.loads(reply)
        failures = [
            Failure(
                str(item["id"]),
                str(item.get("when", "call")),
                [(str(f[0]), int(f[1]), str(f[2])) for f in item["frames"]],
                [str(line) for line in item["message"]],
            )
            for item in data.get("failures", ())
        ]
        return TestReport(
            counts={str(k): int(v) for k, v in data.get("counts", {}).items()},
            outcomes={str(k): str(v) for k, v in data.get("outcomes", {}).items()},
            failures=failures,
            exit_code=int(data["exit_code"]),
            seconds=float(data.get("seconds", 0.0)),
            timed_out=bool(data.get("timed_out", False)),
            error=str(data.get("error", "")),
        )
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        return _lost(f"the test server's answer cannot be read: {type(error).__name__}: {error}")
