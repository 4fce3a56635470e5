"""A sandbox with a repository in it and a warm test runner: what makes and grades tasks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from agentrl.core import PYTEST_IMPORTS, Process, Sandbox, SandboxError, WarmPython

_PROBE = Path(__file__).with_name("probe.py")
# Sets and dictionaries iterate the same way in every run; nothing else of the environment counts.
_CLEAN = ["env", "-u", "PYTHONPATH", "-u", "PYTHONHOME", "-u", "PYTHONSTARTUP", "PYTHONHASHSEED=0"]
# The .pth files of the image, as `site` would have run them at the start.
_SITE = "import site; [site.addsitedir(d) for d in site.getsitepackages()]\n"
# Beyond a run's own deadline: forking, answering, and a machine that is busy.
_SLACK_SECONDS = 20.0
_START_SECONDS = 60.0


@dataclass(slots=True, frozen=True)
class Failure:
    """Why a test failed: the error, and the repository's frames, outermost first."""

    message: str
    frames: list[tuple[str, int]]


@dataclass(slots=True)
class TestRun:
    """What came of one run.

    Attributes:
        status: "finished"; "timeout"; "died" (the code under test ended the process, with
            whatever exit code); "tampered" (it replaced parts of pytest).
        tests: outcome by test id: passed, failed, error, skipped, xfail.
        seconds: of processor time by test id, set-up and tear-down included.
        errors: of collection, by file.
        touched: by test id, (path, line) of the functions entered; "" for those at import.
    """

    __test__ = False

    status: Literal["finished", "timeout", "died", "tampered"]
    tests: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    failures: dict[str, Failure] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    touched: dict[str, list[tuple[str, int]]] = field(default_factory=dict)

    @property
    def passed(self) -> set[str]:
        return {test for test, outcome in self.tests.items() if outcome == "passed"}

    @property
    def failed(self) -> set[str]:
        return {test for test, outcome in self.tests.items() if outcome in ("failed", "error")}


class Bench:
    """Runs a repository's tests in one sandbox, each run in a forked process of its own."""

    def __init__(
        self,
        sandbox: Sandbox,
        paths: list[str],
        python: str = "python3",
        *,
        folder: str = "repo",
        plugins: Sequence[str] = (),
        ini: Mapping[str, str] | None = None,
    ) -> None:
        """
        Args:
            paths: sys.path entries relative to the repository.
            plugins: modules of the image that are pytest plugins; nothing else is loaded.
            ini: pytest options.
            folder: where the repository goes, in the sandbox's working directory.
            python: the interpreter inside; it needs pytest.
        """
        self.sandbox = sandbox
        self.root = f"{sandbox.workdir.rstrip('/')}/{folder}"
        self._paths = paths
        self._python = python
        self._plugins = list(plugins)
        self._ini = dict(ini or {})
        self._process: Process | None = None

    async def start(self) -> None:
        """Start the runner and wait until it has imported pytest (0.2 to 0.5 s).

        Raises SandboxError("no_runner") when it does not come up.
        """
        process = await self._begun()
        try:
            await process.request(json.dumps("ping"), timeout=_START_SECONDS)
        except (EOFError, TimeoutError) as error:
            raise SandboxError(
                "no_runner",
                f"the test runner did not start: {error}",
                where=self.sandbox.id,
                fix=f"the image needs {self._python} with pytest",
            ) from error
        self._process = process

    async def _begun(self) -> Process:
        probe, sandbox = _PROBE.read_text("utf-8"), self.sandbox
        if isinstance(sandbox, WarmPython) and self._python in sandbox.pythons:
            return await sandbox.start_python(_SITE + probe, preload=PYTEST_IMPORTS, cwd="/")
        return await sandbox.start([*_CLEAN, self._python, "-s", "-c", probe], cwd="/")

    async def load(self, folder: Path) -> None:
        """Copy the repository in."""
        await self.sandbox.copy_in(folder, self.root)

    async def run(
        self,
        tests: Iterable[str],
        *,
        write: Mapping[str, str | None] | None = None,
        timeout: float,
        trace: list[str] | None = None,
        whole_files: bool = False,
    ) -> TestRun:
        """Run tests by id.

        Args:
            write: files to put (None: remove) for this run only.
            timeout: processor seconds for the whole run; ten times that on the clock.
            trace: path prefixes; fills `touched` with their functions.
            whole_files: `tests` are files, to be run whole.

        Raises:
            SandboxError: the sandbox is gone. A runner that is gone alone was killed by the code
                under test: the run is "died", and a new runner is started.
        """
        wanted = list(tests)
        request: dict[str, Any] = {
            "root": self.root,
            "paths": self._paths,
            "files": sorted({test.partition("::")[0] for test in wanted}),
            "tests": None if whole_files else wanted,
            "write": dict(write or {}),
            "timeout": timeout,
            "trace": trace,
            "plugins": self._plugins,
            "ini": self._ini,
        }
        if self._process is None:
            await self.start()
        assert self._process is not None
        try:
            line = await self._process.request(
                json.dumps(request), timeout=10 * timeout + _SLACK_SECONDS
            )
        except (EOFError, TimeoutError):
            self._process = None
            await self._still_there()
            return TestRun("died")
        return _run_of(json.loads(line))

    async def _still_there(self) -> None:
        """Raises SandboxError when it was the sandbox that died."""
        result = await self.sandbox.exec("true", timeout=_START_SECONDS)
        if not result.ok:
            raise SandboxError(
                "sandbox_died", f"`true` ended with {result.exit_code}", where=self.sandbox.id
            )


def _run_of(answer: dict[str, Any]) -> TestRun:
    failures = {
        test: Failure(f["message"], [(p, n) for p, n in f["frames"]])
        for test, f in answer.get("failures", {}).items()
    }
    touched = {t: [(p, n) for p, n in where] for t, where in answer.get("touched", {}).items()}
    return TestRun(
        answer["status"],
        answer.get("tests", {}),
        answer.get("seconds", {}),
        failures,
        answer.get("errors", {}),
        touched,
    )
