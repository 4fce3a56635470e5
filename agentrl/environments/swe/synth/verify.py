"""Whether a mutation makes a good task: run, run again, and run once as the agent will see it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from agentrl.core import derive_seed
from agentrl.environments.swe.bench import Bench, Failure, TestRun
from agentrl.environments.swe.functions import Function, functions_of
from agentrl.environments.swe.hide import hide_tests, split_id
from agentrl.environments.swe.package import Package
from agentrl.environments.swe.synth.bugs import Bug
from agentrl.environments.swe.tree import Tree

Visible = Literal["reproduction", "all", "none"]

_FIXED_SECONDS = 2.0
_TIMES_BASELINE = 5.0


@dataclass(slots=True)
class Baseline:
    """What the unchanged package does.

    Attributes:
        seconds: by test that always passes and is fast enough: these are the ones used.
        covering: tests by the id of a function they enter.
        at_import: functions that run when the package is imported; not mutated.
        dropped: tests left out, by reason.
        touched: number of functions each test enters.
    """

    seconds: dict[str, float]
    covering: dict[str, list[str]]
    at_import: set[str]
    dropped: Counter[str]
    touched: dict[str, int]


@dataclass(slots=True, frozen=True)
class Verified:
    """A bug that makes a task, with what it takes to write the task down."""

    bug: Bug
    sources: Tree
    fail_to_pass: list[str]
    pass_to_pass: list[str]
    hidden: dict[str, list[str]]
    reproduction: str | None
    failure: Failure
    failing_test: str
    seconds: float = field(compare=False)


async def measure(
    bench: Bench, package: Package, *, repeats: int, max_seconds: float, timeout: float
) -> Baseline:
    """Run the whole suite `repeats` times; keep the tests that always pass within `max_seconds`."""
    first = await bench.run(package.tests, timeout=timeout, trace=package.roots, whole_files=True)
    dropped: Counter[str] = Counter()
    kept = first.passed
    dropped["failing"] = len(first.tests) - len(kept)
    kept = {t for t in kept if first.seconds[t] <= max_seconds}
    dropped["slow"] = len(first.passed) - len(kept)
    seconds = {t: first.seconds[t] for t in kept}
    for _ in range(repeats - 1):
        again = await bench.run(sorted(kept), timeout=timeout)
        dropped["flaky"] += len(kept - again.passed)
        kept &= again.passed
        seconds = {t: min(seconds[t], again.seconds[t]) for t in kept}
    return _baseline(package, first, seconds, dropped)


def _baseline(
    package: Package, traced: TestRun, seconds: dict[str, float], dropped: Counter[str]
) -> Baseline:
    owner: dict[tuple[str, int], str] = {}
    for path in package.sources:
        for function in functions_of(path, package.tree[path]):
            for line in range(function.first_line, function.last_line + 1):
                owner[path, line] = function.id
    covering: dict[str, list[str]] = {}
    touched: dict[str, int] = {}
    for test in sorted(seconds):
        functions = {owner[place] for place in traced.touched.get(test, []) if place in owner}
        touched[test] = len(functions)
        for function_id in sorted(functions):
            covering.setdefault(function_id, []).append(test)
    at_import = {owner[place] for place in traced.touched.get("", []) if place in owner}
    return Baseline(seconds, covering, at_import, dropped, touched)


class Verifier:
    """Verifies bugs of one package in one sandbox."""

    def __init__(
        self, bench: Bench, package: Package, baseline: Baseline, *, visible: Visible, limit: int
    ) -> None:
        """
        Args:
            limit: at most this many pass-to-pass tests; those that enter the function go first.
        """
        self._bench = bench
        self._package = package
        self._baseline = baseline
        self._visible = visible
        self._limit = limit

    async def verify(self, bug: Bug) -> Verified | str:
        """The verified bug, or in one word why it makes no task."""
        sources = bug.sources(self._package.tree)
        write: dict[str, str | None] = {path: data.decode() for path, data in sources.items()}
        covering = self._covering(bug)
        first = await self._run(covering, write)
        if isinstance(first, str):
            return first
        failing = first.failed
        if not failing:
            return "survived"
        if not await self._irreducible(bug, failing):
            return "reducible"
        tests = self._selection(bug.function, covering, failing)
        second = await self._run(tests, write)
        if isinstance(second, str):
            return second
        if second.failed != failing or second.passed != set(tests) - failing:
            return "flaky"
        passing = sorted(second.passed)
        shown = min(failing, key=lambda t: (self._baseline.touched[t], len(t), t))
        hidden = self._hidden(failing, shown)
        reproduction = None if self._visible == "none" else shown
        if not await self._fits(hidden, reproduction, passing, write):
            return "hiding"
        return Verified(
            bug, sources, sorted(failing), passing, hidden, reproduction,
            second.failures[shown], shown, sum(second.seconds.values()),
        )  # fmt: skip

    def _covering(self, bug: Bug) -> list[str]:
        """Tests that enter one of its functions."""
        entering = [self._baseline.covering[function] for function in bug.functions]
        return sorted({test for tests in entering for test in tests})

    async def _irreducible(self, bug: Bug, failing: set[str]) -> bool:
        """Each part of it makes some of its tests fail by itself: none may be left unrepaired."""
        for part in bug.parts():
            sources = part.sources(self._package.tree)
            write: dict[str, str | None] = {p: data.decode() for p, data in sources.items()}
            run = await self._run(self._covering(part), write)
            if isinstance(run, str) or not run.failed & failing:
                return False
        return True

    async def _run(self, tests: list[str], write: dict[str, str | None]) -> TestRun | str:
        expected = sum(self._baseline.seconds[t] for t in tests)
        timeout = _FIXED_SECONDS + _TIMES_BASELINE * expected
        run = await self._bench.run(tests, write=write, timeout=timeout)
        if run.status != "finished":
            return run.status
        if run.errors or run.tests.keys() != set(tests) or run.failed | run.passed != set(tests):
            return "collection"
        if any("MemoryError" in f.message for f in run.failures.values()):
            return "memory"
        return run

    def _selection(self, function: Function, covering: list[str], failing: set[str]) -> list[str]:
        """Failing tests, and as many others as allowed: of the function, then of their files."""
        files = {split_id(t)[0] for t in failing}
        others = [t for t in covering if t not in failing]
        beside = [
            t
            for t in sorted(self._baseline.seconds)
            if split_id(t)[0] in files and t not in failing and t not in set(covering)
        ]
        beside.sort(key=lambda t: derive_seed(0, function.id, t))
        return sorted([*failing, *(others + beside)[: self._limit]])

    def _hidden(self, failing: set[str], shown: str) -> dict[str, list[str]]:
        if self._visible == "all":
            return {}
        functions = {split_id(t) for t in failing}
        if self._visible == "reproduction":
            functions.discard(split_id(shown))
        hidden: dict[str, list[str]] = {}
        for path, name in sorted(functions):
            hidden.setdefault(path, []).append(name)
        return hidden

    async def _fits(
        self,
        hidden: dict[str, list[str]],
        reproduction: str | None,
        passing: list[str],
        write: dict[str, str | None],
    ) -> bool:
        """True when the agent's copy still runs: its tests pass, the reproduction fails."""
        if not hidden:
            return True
        gone = {(path, name) for path, names in hidden.items() for name in names}
        copy = dict(write)
        for path, names in hidden.items():
            source = hide_tests(self._package.tree[path], set(names))
            if source is None:
                return False
            copy[path] = source.decode()
        left = [t for t in passing if split_id(t) not in gone]
        shown = [] if reproduction is None else [reproduction]
        if not left and not shown:
            return True
        run = await self._run(left + shown, copy)
        return isinstance(run, TestRun) and run.failed == set(shown)
