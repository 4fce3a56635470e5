"""From a package's release history to verified tasks, or to the reason why there is none."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from agentrl.core import InfraError, Sandbox, SandboxError, Task
from agentrl.core.taskfile import write_tasks
from agentrl.environments.images import ImageProvider
from agentrl.environments.swe.bench import Bench
from agentrl.environments.swe.difficulty import fix_size
from agentrl.environments.swe.grade import admissible, bench_of, judge
from agentrl.environments.swe.releases.history import Release, fetch
from agentrl.environments.swe.releases.pair import Pair, lay_over
from agentrl.environments.swe.releases.prove import Proof, failing_with, prove, run_newer
from agentrl.environments.swe.releases.site import Site, resolve
from agentrl.environments.swe.releases.split import part_of_pair, parts_of, with_tests
from agentrl.environments.swe.releases.written import Fix, make_tasks
from agentrl.environments.swe.sdist import PackageError, versions
from agentrl.environments.swe.task import SweTask
from agentrl.environments.swe.tree import digest, pack, write_folder


@dataclass(slots=True, frozen=True)
class ReleaseSettings:
    """What to make.

    Attributes:
        last: pairs of neighbouring releases to try, from the newest back, where none is named.
        wanted: stop at so many pairs of one package that gave tasks.
        split: make a task of each single fix where the tests tell them apart.
        repeats: runs of each side; a test counts when it comes out the same in all.
        max_fix_lines: larger fixes are refused: one issue cannot describe them.
        max_release_lines: releases that change more are not even taken apart.
        max_failing: more failing tests are refused, for the same reason.
        max_pass_to_pass: tests that must stay passing, at most.
        max_test_seconds: slower tests are left out.
        suite_timeout: processor seconds for one run of the suite.
        python: the interpreter inside the sandbox.
    """

    last: int = 3
    wanted: int = 1
    split: bool = True
    repeats: int = 3
    max_fix_lines: int = 600
    max_release_lines: int = 4000
    max_failing: int = 100
    max_pass_to_pass: int = 500
    max_test_seconds: float = 5.0
    suite_timeout: float = 120.0
    python: str = "python3"


@dataclass(slots=True)
class Attempt:
    """What came of one pair of releases: tasks, or why there is none.

    Attributes:
        notes: of a pair with tasks, why it was not split, or which of its fixes gave none.
    """

    package: str
    old: str
    new: str
    tasks: list[Task] = field(default_factory=list)
    reason: str = ""
    notes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class ReleaseReport:
    attempts: list[Attempt] = field(default_factory=list)

    @property
    def tasks(self) -> list[Task]:
        return [task for attempt in self.attempts for task in attempt.tasks]


Progress = Callable[[Attempt], None]


async def tasks_from_releases(
    packages: Sequence[str],
    out: Path,
    provider: ImageProvider,
    settings: ReleaseSettings | None = None,
    *,
    old: str | None = None,
    new: str | None = None,
    progress: Progress = lambda attempt: None,
) -> ReleaseReport:
    """Write the tasks of each pair of releases that gives some, as soon as they are made.

    Args:
        packages: names on PyPI.
        old, new: the pair; None takes the neighbouring releases, the newest first.

    Raises SandboxError when there is no sandbox to run anything in.
    """
    settings = settings or ReleaseSettings()
    report = ReleaseReport()
    for package in packages:
        made = 0
        for before, after in await _pairs(package, old, new, settings, report, progress):
            attempt = Attempt(package, before, after)
            try:
                await _one(attempt, out, provider, settings)
                made += 1
                write_tasks(out, [*report.tasks, *attempt.tasks])
            except PackageError as error:
                attempt.reason = error.what
            except InfraError as error:
                if isinstance(error, SandboxError):
                    raise
                attempt.reason = error.what
            report.attempts.append(attempt)
            progress(attempt)
            if made >= settings.wanted:
                break
    return report


async def _pairs(
    package: str,
    old: str | None,
    new: str | None,
    settings: ReleaseSettings,
    report: ReleaseReport,
    progress: Progress,
) -> list[tuple[str, str]]:
    if old is not None and new is not None:
        return [(old, new)]
    try:
        known = await asyncio.to_thread(versions, package)
        if new is not None or old is not None:
            named = new or old or ""
            if named not in known:
                raise PackageError(f"{package} has no release {named} with source")
            at = known.index(named) if new else known.index(named) - 1
            known = known[max(at, 0) : max(at, 0) + 2]
        if len(known) < 2:
            raise PackageError(f"{package} has {len(known)} release with source, not two")
    except PackageError as error:
        report.attempts.append(Attempt(package, old or "?", new or "?", reason=error.what))
        progress(report.attempts[-1])
        return []
    return list(zip(known[1:], known, strict=False))[: settings.last]


async def _one(
    attempt: Attempt, out: Path, provider: ImageProvider, settings: ReleaseSettings
) -> None:
    package, before, after = attempt.package, attempt.old, attempt.new
    old, new = await asyncio.gather(
        asyncio.to_thread(fetch, package, before), asyncio.to_thread(fetch, package, after)
    )
    made = await tasks_of_pair(old, new, out, provider, settings, attempt.notes)
    attempt.tasks = made


async def tasks_of_pair(
    old: Release,
    new: Release,
    out: Path,
    provider: ImageProvider,
    settings: ReleaseSettings,
    notes: list[str] | None = None,
) -> list[Task]:
    """The tasks of two releases; the newer one's files go to `repos` beside `out`.

    Args:
        notes: gets why the pair was not split, or why one of its fixes gives no task.

    Raises PackageError with the reason why they give none.
    """
    notes = [] if notes is None else notes
    pair = lay_over(old, new)
    most = settings.max_release_lines if settings.split else settings.max_fix_lines
    _fits(pair, most)
    with tempfile.TemporaryDirectory(prefix="agentrl-site-") as scratch:
        site = await asyncio.to_thread(resolve, new.package.name, new.requirements, Path(scratch))
    fixes, plugins = await _proven(pair, site, provider, settings, notes)
    archive = out.parent / "repos" / f"{digest(pair.pristine)}.tar.gz"
    archive.parent.mkdir(parents=True, exist_ok=True)
    there = archive.exists()
    archive.write_bytes(pack(pair.pristine))
    made: list[Task] = []
    for number, (fix, task) in enumerate(
        zip(fixes, make_tasks(fixes, replace(site, plugins=plugins)), strict=True)
    ):
        task.metadata["folder"] = str(out.parent)
        try:
            _fits(fix.pair, settings.max_fix_lines)
            if len(fix.proof.fail_to_pass) > settings.max_failing:
                raise PackageError(
                    f"{len(fix.proof.fail_to_pass)} tests fail on the older source"
                    f" (at most {settings.max_failing})"
                )
            await _checked(task, provider, settings)
            made.append(task)
        except PackageError as error:
            if len(fixes) == 1:
                _forget(archive, there)
                raise
            notes.append(f"fix {number + 1} of {len(fixes)} gives no task: {error.what}")
    if not made:
        _forget(archive, there)
        raise PackageError("; ".join(notes))
    return made


def _forget(archive: Path, there: bool) -> None:
    if not there:
        archive.unlink()


def _fits(pair: Pair, most: int) -> None:
    size = fix_size(pair.fix)
    if size.lines > most:
        raise PackageError(
            f"the fix is too large: {size.lines} lines in {size.files} files (at most {most})"
        )


async def _proven(
    pair: Pair, site: Site, provider: ImageProvider, settings: ReleaseSettings, notes: list[str]
) -> tuple[list[Fix], list[str]]:
    """What the tests show, of each fix by itself where they can, and their pytest plugins."""
    lender = await provider.with_packages(site.requires)
    sandbox = await lender.fresh()
    try:
        bench = _bench(sandbox, pair, site.plugins, settings)
        with tempfile.TemporaryDirectory(prefix="agentrl-pair-") as scratch:
            await asyncio.to_thread(write_folder, pair.pristine, Path(scratch, "repo"))
            await asyncio.gather(bench.start(), bench.load(Path(scratch, "repo")))
        plugins = await _harmless(sandbox, pair, site.plugins, settings)
        bench = _bench(sandbox, pair, plugins, settings)
        return await _fixes(bench, pair, settings, notes), plugins
    except SandboxError as error:
        raise PackageError(f"its tests broke the sandbox: {error.what}") from error
    finally:
        await lender.release(sandbox)


async def _fixes(
    bench: Bench, pair: Pair, settings: ReleaseSettings, notes: list[str]
) -> list[Fix]:
    """The single fixes that hold by themselves; the pair as a whole where there are not two."""
    repeats, timeout = settings.repeats, settings.suite_timeout
    newer = await run_newer(
        bench, pair, repeats=repeats, timeout=timeout, max_seconds=settings.max_test_seconds
    )

    async def proven(one: Pair) -> Proof:
        limit = settings.max_pass_to_pass
        return await prove(bench, one, newer, repeats=repeats, timeout=timeout, limit=limit)

    whole = Fix(pair, await proven(pair))
    if not settings.split:
        return [whole]
    failing = whole.proof.fail_to_pass
    files = sorted({test.partition("::")[0] for test in failing})
    parts, why = await parts_of(
        pair, failing, lambda texts: failing_with(bench, newer, files, texts, timeout)
    )
    if not parts:
        notes.append(f"not split: {why}")
        return [whole]
    found: list[Fix] = []
    for number, part in enumerate(parts):
        one = part_of_pair(pair, part)
        try:
            proof = await proven(one)
        except PackageError as error:
            notes.append(f"fix {number + 1} of {len(parts)} does not hold alone: {error.what}")
            continue
        others = [name for other in parts if other is not part for name in other.tests]
        fail = set(proof.fail_to_pass)
        more = (fail - set(failing)) | (fail & {*others}) - {*proof.uncollected}
        if more:
            what = f"it also breaks {len(more)} tests of other code"
            notes.append(f"fix {number + 1} of {len(parts)} does not hold alone: {what}")
            continue
        found.append(Fix(with_tests(one, fail, newer.passing), proof, part))
    return found or [whole]


def _bench(sandbox: Sandbox, pair: Pair, plugins: list[str], settings: ReleaseSettings) -> Bench:
    paths, ini = pair.package.paths, pair.new.ini
    return Bench(sandbox, paths, settings.python, plugins=plugins, ini=ini)


async def _harmless(
    sandbox: Sandbox, pair: Pair, plugins: list[str], settings: ReleaseSettings
) -> list[str]:
    """The plugins with which the judge can still tell that nobody has touched the runner."""
    first = pair.package.tests[:1]
    timeout = settings.suite_timeout
    if not plugins:
        return []
    every = await _bench(sandbox, pair, plugins, settings).run(
        first, timeout=timeout, whole_files=True
    )
    if every.status == "finished":
        return plugins
    kept = []
    for plugin in plugins:
        run = await _bench(sandbox, pair, [plugin], settings).run(
            first, timeout=timeout, whole_files=True
        )
        if run.status == "finished":
            kept.append(plugin)
    return kept


async def _checked(task: Task, provider: ImageProvider, settings: ReleaseSettings) -> None:
    """The grader's own word: the fix resolves, the empty patch does not."""
    swe = SweTask(task)
    changes, refused = admissible(swe, swe.reference.gold_patch)
    if refused:
        first = next(iter(refused.items()))
        raise PackageError(f"a fix like the release's would be refused: {first[0]}: {first[1]}")
    lender = await provider.with_packages(swe.payload.requires)
    sandbox = await lender.fresh()
    try:
        bench = bench_of(sandbox, swe, settings.python)
        with tempfile.TemporaryDirectory(prefix="agentrl-pair-") as scratch:
            await asyncio.to_thread(write_folder, swe.pristine, Path(scratch, "repo"))
            await asyncio.gather(bench.start(), bench.load(Path(scratch, "repo")))
        gold = await judge(bench, swe, changes, {}, timeout=settings.suite_timeout)
        empty = await judge(bench, swe, {}, {}, timeout=settings.suite_timeout)
    finally:
        await lender.release(sandbox)
    if not gold.resolved:
        counts = f"{gold.f2p_passed}/{gold.f2p_total}, {gold.p2p_passed}/{gold.p2p_total}"
        raise PackageError(
            f"the tests do not pass when run by themselves ({gold.grading}, {counts})"
        )
    if empty.f2p_passed:
        raise PackageError(f"{empty.f2p_passed} failing tests pass when run by themselves")
