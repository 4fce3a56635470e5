"""Whether a task is fit to train on: solvable, unsolved, steady, quick, and not given away."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from agentrl.core import SandboxError, SandboxProvider, Task, TaskFileError
from agentrl.environments.images import provider_for
from agentrl.environments.swe.bench import TestRun
from agentrl.environments.swe.folders import Folders
from agentrl.environments.swe.grade import Changes, admissible, bench_of, run_tests
from agentrl.environments.swe.leaks import leaks_in_files, leaks_in_sandbox
from agentrl.environments.swe.task import SweTask
from agentrl.environments.swe.tree import PatchError

_NAMED = 5


@dataclass(slots=True)
class Vetted:
    """What was found about a task.

    Attributes:
        reasons: why it does not hold; empty when it does.
        gold_passed: runs of the gold patch in which every test passed, of `runs`.
        empty_passed: fail-to-pass tests that pass without any patch.
        flaky: tests whose outcome changed between runs.
        seconds: processor time of the slowest run, as the tests themselves took it.
        leaks: places where the answer can be read.
    """

    id: str
    reasons: list[str] = field(default_factory=list)
    runs: int = 0
    gold_passed: int = 0
    empty_passed: int = 0
    flaky: list[str] = field(default_factory=list)
    seconds: float = 0.0
    leaks: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        return not self.reasons


async def vet(
    task: Task,
    provider: SandboxProvider,
    *,
    runs: int = 3,
    max_seconds: float = 120.0,
    python: str = "python3",
) -> Vetted:
    """Grade the gold patch `runs` times and the empty patch, each in an unused sandbox.

    Args:
        max_seconds: processor time of one run; a slower task does not hold.

    Raises SandboxError: no verdict, because a sandbox is gone.
    """
    found = Vetted(task.id, runs=runs)
    try:
        swe = SweTask(task)
        changes, refused = admissible(swe, swe.reference.gold_patch)
        for data in changes.values():
            (data or b"").decode()
    except (TaskFileError, PatchError, UnicodeDecodeError) as error:
        found.reasons.append(str(error))
        return found
    for path, why in refused.items():
        found.reasons.append(f"the gold patch would be refused: {path}: {why}")
    found.leaks = leaks_in_files(swe)
    folders = Folders()
    try:
        lender = await provider_for(provider, swe.payload.requires)
        gold = [await _fresh(lender, folders, swe, changes, max_seconds, python, found)
                for _ in range(runs)]  # fmt: skip
        empty = await _fresh(lender, folders, swe, {}, max_seconds, python, found)
    finally:
        folders.close()
    _conclude(found, swe, gold, empty)
    found.reasons += list(dict.fromkeys(found.leaks))
    return found


async def _fresh(
    lender: SandboxProvider,
    folders: Folders,
    swe: SweTask,
    changes: Changes,
    max_seconds: float,
    python: str,
    found: Vetted,
) -> TestRun:
    folder = await folders.pristine(swe)
    sandbox = await lender.fresh()
    try:
        if not changes:
            found.leaks += await leaks_in_sandbox(swe, sandbox, python)
        bench = bench_of(sandbox, swe, python)
        await asyncio.gather(bench.start(), bench.load(folder))
        return await run_tests(bench, swe, changes, timeout=max_seconds)
    except SandboxError as error:
        if error.cause != "no_runner":
            raise
        found.reasons.append(error.what)
        return TestRun("died")
    finally:
        await lender.release(sandbox)


def _conclude(found: Vetted, swe: SweTask, gold: list[TestRun], empty: TestRun) -> None:
    found.seconds = round(max(sum(run.seconds.values()) for run in [*gold, empty]), 4)
    runs = [
        (frozenset(run.passed), "tests" if run.status == "finished" else run.status) for run in gold
    ]
    conclude(
        found,
        swe.reference.fail_to_pass,
        swe.reference.pass_to_pass,
        runs,
        frozenset(empty.passed),
    )


def conclude(
    found: Vetted,
    f2p: list[str],
    p2p: list[str],
    gold: Sequence[tuple[frozenset[str], str]],
    empty: frozenset[str],
) -> None:
    """Fill in what runs showed: what passed in each with the gold patch, and how it was graded;
    and what passed without any patch."""
    every = {*f2p, *p2p}
    passed = [run & every for run, _ in gold]
    found.gold_passed = sum(run == every for run in passed)
    found.empty_passed = len(empty & set(f2p))
    ever = {test for run in passed for test in run}
    found.flaky = sorted(test for test in ever if not all(test in run for run in passed))
    if not f2p:
        found.reasons.append("it names no test that fails before the fix")
    if found.flaky:
        found.reasons.append(f"flaky in {len(gold)} runs: {_some(found.flaky)}")
    elif found.gold_passed < len(gold):
        worst = min(range(len(gold)), key=lambda n: len(passed[n]))
        counts = f"{len(passed[worst] & set(f2p))}/{len(f2p)} and "
        counts += f"{len(passed[worst] & set(p2p))}/{len(p2p)}"
        found.reasons.append(
            f"the gold patch does not resolve it ({gold[worst][1]}, {counts} tests pass)"
        )
    if found.empty_passed:
        found.reasons.append(
            f"{found.empty_passed} of {len(f2p)} failing tests pass without any patch"
        )


def _some(tests: list[str]) -> str:
    rest = len(tests) - _NAMED
    return ", ".join(tests[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")


def report_file(tasks: Path) -> Path:
    """Where the report on a task file goes: `x.jsonl` -> `x.verified.jsonl`; that on a folder of
    tasks stands beside it."""
    if tasks.is_dir():
        return tasks.with_name(f"{tasks.resolve().name}.verified.jsonl")
    return tasks.with_suffix(f".verified{tasks.suffix}")


def write_report(tasks: Path, found: Iterable[Vetted]) -> None:
    """One JSON object a task: `holds`, and the fields of `Vetted`."""
    lines = [json.dumps({"holds": one.holds, **asdict(one)}, ensure_ascii=False) for one in found]
    report_file(tasks).write_text("\n".join(lines) + "\n", "utf-8")
