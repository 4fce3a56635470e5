"""Which tests of a release fail on the source before it, and which pass on both."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

from agentrl.environments.swe.bench import Bench, TestRun
from agentrl.environments.swe.releases.pair import Pair
from agentrl.environments.swe.sdist import PackageError

_MISSING = re.compile(r"No module named '([\w.]+)'")


@dataclass(slots=True)
class Proof:
    """What running both releases showed.

    Attributes:
        fail_to_pass, pass_to_pass: tests with the same result in every run.
        dropped: tests that are neither, by reason.
        asks_for: names that the failing tests use and the older source does not have.
        messages: first line of the error by failing test.
        uncollected: failing tests whose whole file cannot be imported with the older source.
        seconds: processor time of one run of all kept tests.
    """

    fail_to_pass: list[str]
    pass_to_pass: list[str]
    dropped: Counter[str] = field(default_factory=Counter)
    asks_for: list[str] = field(default_factory=list)
    messages: dict[str, str] = field(default_factory=dict)
    uncollected: list[str] = field(default_factory=list)
    seconds: float = 0.0


@dataclass(slots=True)
class Newer:
    """What the newer release's tests do on its own source.

    Attributes:
        passing: in every run, and fast enough.
        seconds: of processor time by test.
    """

    passing: set[str]
    dropped: Counter[str]
    seconds: dict[str, float]

    @property
    def files(self) -> list[str]:
        return sorted({test.partition("::")[0] for test in self.passing})


async def run_newer(
    bench: Bench, pair: Pair, *, repeats: int, timeout: float, max_seconds: float
) -> Newer:
    """Run the newer release's tests on its own source.

    Args:
        bench: holds `pair.pristine`.
        timeout: processor seconds for one run of the suite.
        max_seconds: slower tests are left out.

    Raises:
        PackageError: the tests do not run; says why.
    """
    tests = pair.package.tests
    after = [await _suite(bench, tests, None, timeout) for _ in range(repeats)]
    dropped: Counter[str] = Counter()
    passing = set.intersection(*(run.passed for run in after))
    _needs_some(passing, after, tests)
    slow = {test for test in passing if min(r.seconds.get(test, 0) for r in after) > max_seconds}
    dropped["failing on the newer source"] = len(after[0].failed & after[-1].failed)
    dropped["flaky"] = len(set.union(*(run.passed for run in after)) - passing)
    dropped["slow"] = len(slow)
    return Newer(passing - slow, dropped, after[0].seconds)


@dataclass(slots=True)
class Failing:
    """Tests that fail with something changed: `ran` by themselves, or `uncollected` because their
    file cannot be imported."""

    ran: set[str]
    uncollected: set[str]


async def failing_with(
    bench: Bench, newer: Newer, files: list[str], write: dict[str, str | None], timeout: float
) -> Failing:
    """The tests among the newer release's that fail with these texts put over its source."""
    run = await _suite(bench, files, write, timeout)
    failed = {
        test
        for test in newer.passing
        if test.partition("::")[0] in files and _outcome(run, test) == "failed"
    }
    uncollected = {test for test in failed if test.partition("::")[0] in run.errors}
    return Failing(failed - uncollected, uncollected)


async def prove(
    bench: Bench, pair: Pair, newer: Newer, *, repeats: int, timeout: float, limit: int
) -> Proof:
    """Run the newer release's tests on the older source, `repeats` times.

    Args:
        bench: holds `pair.pristine`.
        limit: at most this many pass-to-pass tests; those of the failing tests' files go first.

    Raises:
        PackageError: none tells the two sources apart; says why.
    """
    passing, dropped = newer.passing, newer.dropped.copy()
    before = [await _suite(bench, newer.files, pair.planted, timeout) for _ in range(repeats)]
    outcomes = {test: {_outcome(run, test) for run in before} for test in passing}
    failing = sorted(test for test, seen in outcomes.items() if seen == {"failed"})
    same = [test for test, seen in outcomes.items() if seen == {"passed"}]
    dropped["flaky"] += sum(len(seen) > 1 for seen in outcomes.values())
    dropped["skipped on the older source"] = sum(s == {"skipped"} for s in outcomes.values())
    if not failing:
        raise PackageError(_nothing_fails(dropped, len(same)))
    beside = {test.partition("::")[0] for test in failing}
    same.sort(key=lambda test: (test.partition("::")[0] not in beside, test))
    kept = sorted(same[:limit])
    return Proof(
        failing,
        kept,
        dropped,
        _asked_for(before[0], failing, pair),
        _messages(before[0], failing),
        [test for test in failing if test.partition("::")[0] in before[0].errors],
        sum(newer.seconds.get(test, 0.0) for test in [*failing, *kept]),
    )


async def _suite(
    bench: Bench, files: list[str], write: dict[str, str | None] | None, timeout: float
) -> TestRun:
    """All files in one run; one by one where one of them ends the run for all."""
    run = await bench.run(files, write=write, timeout=timeout, whole_files=True)
    if run.status == "finished":
        return run
    whole = TestRun("finished")
    for file in files:
        one = await bench.run([file], write=write, timeout=timeout / 4, whole_files=True)
        if one.status == "finished":
            whole.tests |= one.tests
            whole.seconds |= one.seconds
            whole.failures |= one.failures
            whole.errors |= one.errors
        else:
            whole.errors[file] = f"its run ended with {one.status!r}"
    return whole


def _outcome(run: TestRun, test: str) -> str:
    """passed, failed or skipped; a test that its file does not come to define has failed."""
    found = run.tests.get(test)
    if found is not None:
        return {"passed": "passed", "failed": "failed", "error": "failed"}.get(found, "skipped")
    file = test.partition("::")[0]
    alive = any(other.startswith(f"{file}::") for other in run.tests)
    return "failed" if alive or file in run.errors else "skipped"


def _needs_some(passing: set[str], runs: list[TestRun], tests: list[str]) -> None:
    """Raises PackageError that says why no test passes on its own release."""
    if passing:
        return
    run = runs[0]
    missing = Counter(m for text in run.errors.values() for m in _MISSING.findall(text))
    missing += Counter(m for f in run.failures.values() for m in _MISSING.findall(f.message))
    if missing:
        names = ", ".join(name for name, _ in missing.most_common(3))
        raise PackageError(f"no test passes on its own release: modules missing: {names}")
    if run.errors:
        ends = Counter(text.strip().rpartition("\n")[2] for text in run.errors.values())
        said, count = ends.most_common(1)[0]
        raise PackageError(
            f"no test passes on its own release: {said.strip()[-200:]}"
            f" (in {count} of {len(tests)} test files)"
        )
    raise PackageError(
        f"no test passes on its own release: {len(tests)} test files gave {len(run.tests)} tests"
    )


def _nothing_fails(dropped: Counter[str], same: int) -> str:
    rest = ", ".join(f"{count} {why}" for why, count in dropped.items() if count)
    return f"no test tells the two releases apart: {same} pass on both" + (
        f"; left out: {rest}" if rest else ""
    )


_ASKED = (
    re.compile(r"cannot import name '(?P<name>\w+)' from '(?P<of>[\w.]+)'"),
    re.compile(r"module '(?P<of>[\w.]+)' has no attribute '(?P<name>\w+)'"),
    re.compile(r"type object '(?P<of>\w+)' has no attribute '(?P<name>\w+)'"),
    re.compile(r"'(?P<of>\w+)' object has no attribute '(?P<name>\w+)'"),
    re.compile(r"(?P<of>[\w.]+)\(\) got an unexpected keyword argument '(?P<name>\w+)'"),
    re.compile(r"No module named '(?P<name>[\w.]+)'(?P<of>)"),
)


def _asked_for(run: TestRun, failing: list[str], pair: Pair) -> list[str]:
    """Names that the newer source has and the older lacks, as errors of the tests tell them."""
    texts = [run.failures[test].message for test in failing if test in run.failures]
    texts += [
        run.errors[f] for f in sorted({t.partition("::")[0] for t in failing}) if f in run.errors
    ]
    newer = b"\n".join(pair.pristine[p] for p in pair.package.sources).decode("utf-8", "replace")
    found: dict[str, None] = {}
    for text in texts:
        for pattern in _ASKED:
            for match in pattern.finditer(text):
                name = match["name"]
                if not re.search(rf"\b{re.escape(name.rpartition('.')[2])}\b", newer):
                    continue
                if "keyword" in pattern.pattern:
                    found[f"argument `{name}` of `{match['of']}`"] = None
                else:
                    found[f"`{match['of']}.{name}`" if match["of"] else f"`{name}`"] = None
    return list(found)[:20]


def _messages(run: TestRun, failing: list[str]) -> dict[str, str]:
    return {
        test: run.failures[test].message.strip().split("\n")[0][:200]
        for test in failing
        if test in run.failures
    }
