"""Making verified repair tasks out of any pure-Python package with tests."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from agentrl.core import ConfigError, SandboxProvider, Task
from agentrl.core.chat import ChatModel
from agentrl.core.taskfile import write_tasks
from agentrl.environments.swe.bench import Bench
from agentrl.environments.swe.package import Package, load_package
from agentrl.environments.swe.sdist import PackageError
from agentrl.environments.swe.synth.candidates import (
    Candidate,
    candidates_of,
    mutable_functions,
)
from agentrl.environments.swe.synth.make import holds, make_task
from agentrl.environments.swe.synth.probes import make_probes
from agentrl.environments.swe.synth.settings import HELD_OUT, TRAIN, SynthSettings
from agentrl.environments.swe.synth.verify import (
    Baseline,
    Verifier,
    measure,
)
from agentrl.environments.swe.synth.writer import written_issue
from agentrl.environments.swe.tree import digest, pack, write_folder


@dataclass(slots=True, frozen=True)
class SynthEvent:
    """How far it is.

    Attributes:
        kind: "package" (laid out), "baseline" (its suite has run), "tried" (a mutation was
            verified or not), "done".
        made, wanted, tried: tasks so far, tasks asked for, mutations tried.
    """

    kind: Literal["package", "baseline", "tried", "done"]
    text: str
    made: int = 0
    wanted: int = 0
    tried: int = 0


@dataclass(slots=True)
class SynthReport:
    """What was made.

    Attributes:
        files: task files by split.
        tasks: by split.
        rejected: mutations that make no task, by reason: "survived" (no test notices),
            "timeout", "died", "collection", "flaky", "hiding", "memory", "unresolved",
            "tampered".
        functions: mutable functions that tests enter, by package.
    """

    files: dict[str, Path] = field(default_factory=dict)
    tasks: dict[str, list[Task]] = field(default_factory=dict)
    rejected: Counter[str] = field(default_factory=Counter)
    functions: dict[str, int] = field(default_factory=dict)
    tried: int = 0
    seconds: float = 0.0


Progress = Callable[[SynthEvent], None]


async def synthesise(
    packages: Sequence[str],
    out: Path,
    provider: SandboxProvider,
    settings: SynthSettings | None = None,
    progress: Progress = lambda event: None,
    *,
    writer: ChatModel | None = None,
) -> SynthReport:
    """Write verified tasks to `out`, held-out ones to `<out>.held_out.jsonl` beside it.

    The tasks depend on the packages, the settings and the image, and on nothing else: not on how
    many sandboxes work at once. The packages' trees go to `repos/` beside `out`.

    Args:
        packages: folders, or names on PyPI (`name` or `name==version`).
        provider: must allow `settings.parallel` sandboxes at a time.
        writer: writes the issues, from what the failing test says; None writes them by rule.

    Raises:
        ConfigError: two packages have one name.
        PackageError: a package cannot be had, has no tests, or its tests do not run here.
        SandboxError: no sandbox.
    """
    settings = settings or SynthSettings()
    started = time.monotonic()
    report = SynthReport()
    loaded: list[Package] = []
    for spec in packages:
        package = await asyncio.to_thread(load_package, spec)
        text = f"{package.name} {package.version}: {len(package.sources)} source files"
        progress(SynthEvent("package", f"{text}, {len(package.tests)} test files"))
        if any(other.name == package.name for other in loaded):
            raise ConfigError(f"{package.name} is given twice", where="packages")
        loaded.append(package)
    async with _workers(loaded, provider, settings) as workers:
        baselines = await _baselines(loaded, workers, settings, progress)
        for package in loaded:
            functions = mutable_functions(package, baselines[package.name], settings)
            report.functions[package.name] = len(functions)
        candidates = candidates_of(loaded, baselines, settings)
        run = _Run(candidates, baselines, settings, out, report, progress, writer)
        await run.work(workers)
    report.tasks = run.tasks()
    _write(out, report, loaded)
    report.seconds = time.monotonic() - started
    made = sum(map(len, report.tasks.values()))
    progress(SynthEvent("done", "written", made, settings.count + settings.held_out, report.tried))
    return report


_Workers = list[dict[str, Bench]]


@asynccontextmanager
async def _workers(
    packages: list[Package], provider: SandboxProvider, settings: SynthSettings
) -> AsyncIterator[_Workers]:
    """A sandbox for each worker, and in it a bench for each package."""
    sandboxes = []
    try:
        workers: _Workers = []
        with tempfile.TemporaryDirectory(prefix="agentrl-synth-") as scratch:
            for package in packages:
                write_folder(package.tree, Path(scratch, package.name))
            for _ in range(settings.parallel):
                sandbox = await provider.acquire()
                sandboxes.append(sandbox)
                benches = {}
                for package in packages:
                    bench = Bench(sandbox, package.paths, settings.python, folder=package.name)
                    await asyncio.gather(bench.start(), bench.load(Path(scratch, package.name)))
                    benches[package.name] = bench
                workers.append(benches)
        yield workers
    finally:
        for sandbox in sandboxes:
            await provider.release(sandbox)


async def _baselines(
    packages: list[Package], workers: _Workers, settings: SynthSettings, progress: Progress
) -> dict[str, Baseline]:
    found: dict[str, Baseline] = {}
    for number, package in enumerate(packages):
        bench = workers[number % len(workers)][package.name]
        baseline = await measure(
            bench,
            package,
            repeats=settings.repeats,
            max_seconds=settings.max_test_seconds,
            timeout=settings.suite_timeout,
        )
        if not baseline.covering:
            raise PackageError(
                f"no test of {package.name} {package.version} passes and enters its functions",
                where=", ".join(package.tests[:3]),
                fix="its tests may need packages that the sandbox image lacks",
            )
        left_out = ", ".join(f"{n} {why}" for why, n in baseline.dropped.items() if n)
        text = (
            f"{package.name}: {len(baseline.seconds)} tests, {sum(baseline.seconds.values()):.1f} s"
        )
        progress(SynthEvent("baseline", text + (f"; left out: {left_out}" if left_out else "")))
        found[package.name] = baseline
    return found


class _Run:
    """Verifies candidates concurrently and accepts them in order, so that timing has no say."""

    def __init__(
        self,
        candidates: list[Candidate],
        baselines: dict[str, Baseline],
        settings: SynthSettings,
        out: Path,
        report: SynthReport,
        progress: Progress,
        writer: ChatModel | None,
    ) -> None:
        self._writer = writer
        self._candidates = candidates
        self._baselines = baselines
        self._settings = settings
        self._out = out
        self._report = report
        self._progress = progress
        self._wanted = {TRAIN: settings.count, HELD_OUT: settings.held_out}
        self._tasks: dict[str, dict[str, Task]] = {TRAIN: {}, HELD_OUT: {}}
        self._per_function: Counter[tuple[str, str]] = Counter()
        self._results: dict[int, Task | str] = {}
        self._next = 0
        self._accepted = 0
        (out.parent / "repos").mkdir(parents=True, exist_ok=True)

    def tasks(self) -> dict[str, list[Task]]:
        return {split: list(tasks.values()) for split, tasks in self._tasks.items() if tasks}

    async def work(self, workers: _Workers) -> None:
        for package in {id(c.package): c.package for c in self._candidates}.values():
            path = self._out.parent / "repos" / f"{digest(package.tree)}.tar.gz"
            path.write_bytes(pack(package.tree))
        async with asyncio.TaskGroup() as group:
            for worker in workers:
                group.create_task(self._worker(worker))

    async def _worker(self, benches: dict[str, Bench]) -> None:
        while self._next < len(self._candidates):
            number = self._next
            self._next += 1
            candidate = self._candidates[number]
            wanted = self._is_wanted(candidate)
            bench = benches[candidate.package.name]
            self._results[number] = await self._try(bench, candidate) if wanted else "not wanted"
            self._accept()

    async def _try(self, bench: Bench, candidate: Candidate) -> Task | str:
        package, settings = candidate.package, self._settings
        verifier = Verifier(
            bench,
            package,
            self._baselines[package.name],
            visible=settings.visible,
            limit=settings.max_pass_to_pass,
        )
        verified = await verifier.verify(candidate.bug)
        if isinstance(verified, str):
            return verified
        written = await written_issue(self._writer, package, verified) if self._writer else ""
        probes = await make_probes(
            bench, package, verified, limit=settings.probes, seed=settings.seed
        )
        task = make_task(package, verified, candidate.split, written, probes)
        task.metadata["folder"] = str(self._out.parent)
        if settings.check and not await holds(bench, task, settings.suite_timeout):
            return "unresolved"
        return task

    def _is_wanted(self, candidate: Candidate) -> bool:
        """False only for what will not be accepted whatever the results still out."""
        split, function = candidate.split, candidate.bug.function.id
        full = len(self._tasks[split]) >= self._wanted[split]
        capped = self._per_function[candidate.package.name, function]
        return not full and capped < self._settings.per_function

    def _accept(self) -> None:
        while self._accepted in self._results:
            result = self._results.pop(self._accepted)
            candidate = self._candidates[self._accepted]
            self._accepted += 1
            if not self._is_wanted(candidate) or result == "not wanted":
                continue
            self._report.tried += 1
            if isinstance(result, str):
                self._report.rejected[result] += 1
            elif result.id not in self._tasks[TRAIN] and result.id not in self._tasks[HELD_OUT]:
                self._tasks[candidate.split][result.id] = result
                self._per_function[candidate.package.name, candidate.bug.function.id] += 1
            made, wanted = sum(map(len, self._tasks.values())), sum(self._wanted.values())
            text = result if isinstance(result, str) else result.id
            self._progress(SynthEvent("tried", text, made, wanted, self._report.tried))


def held_out_file(out: Path) -> Path:
    """Where the held-out tasks of a task file go: `x.jsonl` -> `x.held_out.jsonl`."""
    return out.with_suffix(f".held_out{out.suffix}")


def _write(out: Path, report: SynthReport, packages: list[Package]) -> None:
    if not report.tasks:
        reasons = ", ".join(f"{n} {why}" for why, n in report.rejected.most_common())
        raise PackageError(
            f"no task could be made: {report.tried} mutations tried ({reasons or 'none possible'})",
            where=", ".join(p.name for p in packages),
            fix="allow more operators or longer functions",
        )
    for split, path in ((TRAIN, out), (HELD_OUT, held_out_file(out))):
        if split in report.tasks:
            write_tasks(path, report.tasks[split])
            report.files[split] = path
