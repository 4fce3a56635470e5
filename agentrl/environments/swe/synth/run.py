"""Making verified repair tasks out of any pure-Python package with tests."""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from agentrl.core import ConfigError, SandboxProvider, Task, derive_seed
from agentrl.core.taskfile import write_tasks
from agentrl.environments.swe.bench import Bench
from agentrl.environments.swe.functions import Function, functions_of
from agentrl.environments.swe.package import Package, load_package
from agentrl.environments.swe.sdist import PackageError
from agentrl.environments.swe.synth.make import holds, make_task
from agentrl.environments.swe.synth.mutations import OPERATORS, Mutation, mutations_of
from agentrl.environments.swe.synth.verify import (
    Baseline,
    Verifier,
    Visible,
    measure,
)
from agentrl.environments.swe.tree import digest, pack, write_folder

TRAIN, HELD_OUT = "train", "held_out"


@dataclass(slots=True, frozen=True)
class SynthSettings:
    """What to make.

    Attributes:
        count: tasks for training.
        held_out: further tasks, on functions that no training task is on.
        operators: names in `mutations.OPERATORS`.
        max_function_lines: longest function that is mutated, docstring and decorators not counted.
        max_file_lines: longest file that is mutated.
        per_function: at most this many tasks on one function.
        visible: which failing tests the agent's copy keeps: one ("reproduction"), "all", "none".
        repeats: runs of the unchanged suite that a test must pass to be used.
        max_test_seconds: slower tests are left out.
        max_pass_to_pass: tests of a task that must stay passing, at most.
        suite_timeout: seconds for one run of the whole suite.
        parallel: sandboxes at work at once.
        check: grade the gold patch and the empty patch of every task.
        python: the interpreter inside the sandbox; it needs pytest.
    """

    count: int = 100
    held_out: int = 0
    operators: tuple[str, ...] = tuple(OPERATORS)
    max_function_lines: int = 40
    max_file_lines: int = 1000
    per_function: int = 3
    seed: int = 0
    visible: Visible = "reproduction"
    repeats: int = 3
    max_test_seconds: float = 0.5
    max_pass_to_pass: int = 200
    suite_timeout: float = 600.0
    parallel: int = 2
    check: bool = True
    python: str = "python3"

    def __post_init__(self) -> None:
        """Raises ConfigError for an unknown operator or a number out of range."""
        unknown = [name for name in self.operators if name not in OPERATORS]
        if unknown or not self.operators:
            raise ConfigError(
                f"unknown mutation operator: {', '.join(unknown) or '(none given)'}",
                where="operators",
                fix=f"allowed: {', '.join(OPERATORS)}",
            )
        for name in ("count", "per_function", "repeats", "parallel", "max_function_lines"):
            if getattr(self, name) < 1:
                raise ConfigError("must be at least 1", where=name)
        if self.held_out < 0:
            raise ConfigError("must not be negative", where="held_out")


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


@dataclass(slots=True)
class _Candidate:
    package: Package
    mutation: Mutation
    split: str


async def synthesise(
    packages: Sequence[str],
    out: Path,
    provider: SandboxProvider,
    settings: SynthSettings | None = None,
    progress: Progress = lambda event: None,
) -> SynthReport:
    """Write verified tasks to `out`, held-out ones to `<out>.held_out.jsonl` beside it.

    The tasks depend on the packages, the settings and the image, and on nothing else: not on how
    many sandboxes work at once. The packages' trees go to `repos/` beside `out`.

    Args:
        packages: folders, or names on PyPI (`name` or `name==version`).
        provider: must allow `settings.parallel` sandboxes at a time.

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
            functions = _mutable(package, baselines[package.name], settings)
            report.functions[package.name] = len(functions)
        candidates = _candidates(loaded, baselines, settings)
        run = _Run(candidates, baselines, settings, out, report, progress)
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


def _mutable(package: Package, baseline: Baseline, settings: SynthSettings) -> list[Function]:
    """Functions short enough, entered by a test, and not run at import."""
    return [
        function
        for path in package.sources
        if package.tree[path].count(b"\n") <= settings.max_file_lines
        for function in functions_of(path, package.tree[path])
        if 0 < function.code_lines <= settings.max_function_lines
        and function.id in baseline.covering
        and function.id not in baseline.at_import
    ]


def _candidates(
    packages: list[Package], baselines: dict[str, Baseline], settings: SynthSettings
) -> list[_Candidate]:
    """All mutations in the order they are tried: one of each function, then a second, ...

    Functions are divided between the splits by their share of the tasks before any is tried.
    """
    pool: list[tuple[Package, list[Mutation]]] = []
    for package in packages:
        for function in _mutable(package, baselines[package.name], settings):
            source = package.tree[function.path]
            mutations = mutations_of(function, source, list(settings.operators))
            random.Random(derive_seed(settings.seed, "order", function.id)).shuffle(mutations)
            if mutations:
                pool.append((package, mutations))
    random.Random(derive_seed(settings.seed, "functions")).shuffle(pool)
    share = settings.held_out / (settings.count + settings.held_out)
    rounds: list[list[_Candidate]] = []
    for number, (package, mutations) in enumerate(pool):
        held_out = int((number + 1) * share) > int(number * share)
        split = HELD_OUT if held_out else TRAIN
        for at, mutation in enumerate(mutations):
            if at == len(rounds):
                rounds.append([])
            rounds[at].append(_Candidate(package, mutation, split))
    return [candidate for one in rounds for candidate in one]


class _Run:
    """Verifies candidates concurrently and accepts them in order, so that timing has no say."""

    def __init__(
        self,
        candidates: list[_Candidate],
        baselines: dict[str, Baseline],
        settings: SynthSettings,
        out: Path,
        report: SynthReport,
        progress: Progress,
    ) -> None:
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

    async def _try(self, bench: Bench, candidate: _Candidate) -> Task | str:
        package, settings = candidate.package, self._settings
        verifier = Verifier(
            bench,
            package,
            self._baselines[package.name],
            visible=settings.visible,
            limit=settings.max_pass_to_pass,
        )
        verified = await verifier.verify(candidate.mutation)
        if isinstance(verified, str):
            return verified
        task = make_task(package, verified, candidate.split)
        task.metadata["folder"] = str(self._out.parent)
        if settings.check and not await holds(bench, task, settings.suite_timeout):
            return "unresolved"
        return task

    def _is_wanted(self, candidate: _Candidate) -> bool:
        """False only for what will not be accepted whatever the results still out."""
        split, function = candidate.split, candidate.mutation.function.id
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
                self._per_function[candidate.package.name, candidate.mutation.function.id] += 1
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
