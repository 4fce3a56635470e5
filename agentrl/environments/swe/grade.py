"""The verdict on a submission: its source changes under pristine tests in an unused sandbox."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from agentrl.core import Sandbox, SandboxError, SandboxProvider, Task
from agentrl.environments.images import provider_for
from agentrl.environments.swe.bench import Bench, TestRun
from agentrl.environments.swe.folders import Folders
from agentrl.environments.swe.task import SweTask
from agentrl.environments.swe.tree import PatchError, apply_diff

MAX_FILE = 1 << 20
_TOLD_FAILURES, _TOLD_FRAMES, _TOLD_CHARACTERS = 5, 4, 600
# What code needs to find the test runner's objects in its own process. The tests run in the process
# of the code under test, so this cannot be complete; see docs/swe.md.
_REACHES = re.compile(
    rb"\b(?:_getframe|_current_frames|currentframe|f_back|tb_frame|gi_frame|get_objects|get_referrers"
    rb"|_pytest|pluggy|ctypes)\b|/proc/"
)

# New content by path; None: the file is removed.
Changes = dict[str, bytes | None]


@dataclass(slots=True, frozen=True)
class Verdict:
    """What the hidden tests say.

    Attributes:
        resolved: every fail-to-pass and pass-to-pass test passed.
        grading: how it was found: "tests", or why they could not say ("timeout", "died",
            "tampered", "bad_diff").
        refused: changes that were left out, by path, with the reason.
        failures: how the first tests that must pass failed, by test: the error, and where in the
            repository. Privileged: for rewards and guidance.
    """

    resolved: bool
    f2p_passed: int
    f2p_total: int
    p2p_passed: int
    p2p_total: int
    grading: str
    refused: dict[str, str] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)


def admissible(swe: SweTask, diff: str) -> tuple[Changes, dict[str, str]]:
    """The changed source files of a submission, and what was refused.

    Only Python files inside the source roots that are no test files count. Everything through
    which a submission could get at the judge is outside that: tests, conftest.py, ini files,
    sitecustomize.py and .pth files, modules that shadow others, caches, git's files.

    Raises PatchError.
    """
    submitted = apply_diff(swe.base, diff)
    kept: Changes = {}
    refused: dict[str, str] = {}
    for path in sorted(submitted.keys() | swe.base.keys()):
        if submitted.get(path) == swe.base.get(path):
            continue
        if ".." in path.split("/") or not swe.is_source(path):
            refused[path] = "not a source file of the package"
        elif len(submitted.get(path, b"")) > MAX_FILE:
            refused[path] = "too large"
        elif _reaches(submitted.get(path, b"")) - _reaches(swe.base.get(path, b"")):
            refused[path] = "reaches for the interpreter's or the test runner's insides"
        else:
            kept[path] = submitted.get(path)
    return kept, refused


def _reaches(source: bytes) -> set[bytes]:
    return set(_REACHES.findall(source))


async def judge(
    bench: Bench, swe: SweTask, changes: Changes, refused: dict[str, str], *, timeout: float
) -> Verdict:
    """Run the task's tests on a bench that holds the pristine tree.

    Args:
        changes: admissible ones, put over the task's buggy state for this run.
    """
    run = await run_tests(bench, swe, changes, timeout=timeout)
    f2p, p2p = swe.reference.fail_to_pass, swe.reference.pass_to_pass
    f2p_passed, p2p_passed = len(run.passed & set(f2p)), len(run.passed & set(p2p))
    return Verdict(
        resolved=f2p_passed == len(f2p) and p2p_passed == len(p2p),
        f2p_passed=f2p_passed,
        f2p_total=len(f2p),
        p2p_passed=p2p_passed,
        p2p_total=len(p2p),
        grading="tests" if run.status == "finished" else run.status,
        refused=refused,
        failures=describe_failures(run, [*f2p, *p2p]),
    )


def describe_failures(run: TestRun, tests: Sequence[str]) -> dict[str, str]:
    """The error and the innermost repository frames of the first of `tests` that did not pass."""
    told: dict[str, str] = {}
    for test in tests:
        if test in run.passed or len(told) == _TOLD_FAILURES:
            continue
        failure = run.failures.get(test)
        error = run.errors.get(test.partition("::")[0], "") if failure is None else failure.message
        frames = [] if failure is None else failure.frames[-_TOLD_FRAMES:]
        where = " < ".join(f"{path}:{line}" for path, line in reversed(frames))
        text = (error.strip() or run.tests.get(test, "not run"))[:_TOLD_CHARACTERS]
        told[test] = f"{text} (at {where})" if where else text
    return told


async def run_tests(bench: Bench, swe: SweTask, changes: Changes, *, timeout: float) -> TestRun:
    """The task's tests on its buggy state with the changes put over it; as `judge`."""
    write = {**swe.planted, **swe.reference.extra_tests}
    write.update({p: None if data is None else data.decode() for p, data in changes.items()})
    return await bench.run(
        [*swe.reference.fail_to_pass, *swe.reference.pass_to_pass], write=write, timeout=timeout
    )


def bench_of(sandbox: Sandbox, swe: SweTask, python: str = "python3") -> Bench:
    """A bench for the tests that count; `load` it with the pristine tree."""
    payload = swe.payload
    return Bench(sandbox, payload.paths, python, plugins=payload.plugins, ini=payload.ini)


class Grader:
    """Grades submissions; the same one is never graded twice, nor two equal ones at once."""

    def __init__(
        self,
        provider: SandboxProvider,
        *,
        cache: Path | None = None,
        timeout: float = 60.0,
        tries: int = 2,
        python: str = "python3",
    ) -> None:
        """
        Args:
            cache: SQLite file that keeps verdicts between runs; None keeps them in memory.
            timeout: seconds for the tests of one submission; beyond it, it is not resolved.
            tries: fresh sandboxes that may die before grading gives up with the SandboxError.
            python: the interpreter inside the sandbox.
        """
        self._provider = provider
        self._timeout = timeout
        self._tries = tries
        self._python = python
        self.folders = Folders()
        self._verdicts = VerdictCache(cache)
        self._running: dict[str, asyncio.Task[Verdict]] = {}

    async def grade(self, task: Task, diff: str) -> Verdict:
        """The verdict on what `diff` makes of the task's repository.

        Raises:
            SandboxError: no sandbox could be had, or every one of them died.
        """
        swe = self.folders.task(task)
        try:
            changes, refused = admissible(swe, diff)
            for data in changes.values():
                (data or b"").decode()
        except (PatchError, UnicodeDecodeError):
            f2p, p2p = swe.reference.fail_to_pass, swe.reference.pass_to_pass
            return Verdict(False, 0, len(f2p), 0, len(p2p), "bad_diff")
        key = self._key(swe, changes)
        verdict = self._verdicts.get(key)
        if verdict is None:
            if key not in self._running:
                self._running[key] = asyncio.create_task(self._judge(swe, changes, key))
                self._running[key].add_done_callback(lambda _: self._running.pop(key, None))
            verdict = await asyncio.shield(self._running[key])
        return Verdict(**{**asdict(verdict), "refused": refused})

    def close(self) -> None:
        self.folders.close()
        self._verdicts.close()

    async def _judge(self, swe: SweTask, changes: Changes, key: str) -> Verdict:
        for left in reversed(range(self._tries)):
            try:
                verdict = await self._judge_once(swe, changes)
            except SandboxError:
                if not left:
                    raise
            else:
                self._verdicts.put(key, verdict)
                return verdict
        raise AssertionError("unreachable")

    async def _judge_once(self, swe: SweTask, changes: Changes) -> Verdict:
        folder = await self.folders.pristine(swe)
        provider = await provider_for(self._provider, swe.payload.requires)
        sandbox = await provider.fresh()
        try:
            bench = bench_of(sandbox, swe, self._python)
            await asyncio.gather(bench.start(), bench.load(folder))
            return await judge(bench, swe, changes, {}, timeout=self._timeout)
        finally:
            await provider.release(sandbox)

    def _key(self, swe: SweTask, changes: Changes) -> str:
        """Task, image and normalised changes: two diffs of one effect have one key."""
        image = str(getattr(self._provider, "image", ""))
        files = {
            path: None if data is None else hashlib.sha256(data).hexdigest()
            for path, data in sorted(changes.items())
        }
        payload, reference = swe.payload.model_dump(), swe.reference.model_dump()
        parts = [swe.task.id, payload, reference, image, files]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class VerdictCache:
    """Verdicts by key: in memory, or in an SQLite file that several processes may share."""

    def __init__(self, path: Path | None) -> None:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path or ":memory:", timeout=30.0, isolation_level=None)
        self._db.execute("create table if not exists verdicts (key text primary key, value text)")

    def get(self, key: str) -> Verdict | None:
        row = self._db.execute("select value from verdicts where key = ?", (key,)).fetchone()
        return None if row is None else Verdict(**json.loads(row[0]))

    def put(self, key: str, verdict: Verdict) -> None:
        values = (key, json.dumps(asdict(verdict)))
        self._db.execute("insert or replace into verdicts values (?, ?)", values)

    def close(self) -> None:
        self._db.close()
