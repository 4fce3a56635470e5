"""From a package's release history to verified tasks, or to the reason why there is none."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from agentrl.core import InfraError, Sandbox, SandboxError, Task
from agentrl.core.taskfile import write_tasks
from agentrl.environments.images import ImageProvider
from agentrl.environments.swe.bench import Bench
from agentrl.environments.swe.difficulty import difficulty, fix_size
from agentrl.environments.swe.grade import admissible, bench_of, judge
from agentrl.environments.swe.releases.history import Release, fetch
from agentrl.environments.swe.releases.pair import Pair, lay_over
from agentrl.environments.swe.releases.prove import Proof, prove
from agentrl.environments.swe.releases.site import Site, resolve
from agentrl.environments.swe.releases.text import issue_text
from agentrl.environments.swe.sdist import PackageError, versions
from agentrl.environments.swe.task import Payload, Reference, SweTask
from agentrl.environments.swe.tree import diff_trees, digest, pack, write_folder


@dataclass(slots=True, frozen=True)
class ReleaseSettings:
    """What to make.

    Attributes:
        last: pairs of neighbouring releases to try, from the newest back, where none is named.
        wanted: stop at so many tasks of one package.
        repeats: runs of each side; a test counts when it comes out the same in all.
        max_fix_lines: larger fixes are refused: one issue cannot describe them.
        max_failing: more failing tests are refused, for the same reason.
        max_pass_to_pass: tests that must stay passing, at most.
        max_test_seconds: slower tests are left out.
        suite_timeout: processor seconds for one run of the suite.
        python: the interpreter inside the sandbox.
    """

    last: int = 3
    wanted: int = 1
    repeats: int = 3
    max_fix_lines: int = 600
    max_failing: int = 100
    max_pass_to_pass: int = 500
    max_test_seconds: float = 5.0
    suite_timeout: float = 120.0
    python: str = "python3"


@dataclass(slots=True)
class Attempt:
    """What came of one pair of releases: a task, or why there is none."""

    package: str
    old: str
    new: str
    task: Task | None = None
    reason: str = ""


@dataclass(slots=True)
class ReleaseReport:
    attempts: list[Attempt] = field(default_factory=list)

    @property
    def tasks(self) -> list[Task]:
        return [attempt.task for attempt in self.attempts if attempt.task is not None]


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
    """Write a task for each pair of releases that gives one, as soon as it is made.

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
                attempt.task = await _one(package, before, after, out, provider, settings)
                made += 1
                write_tasks(out, [*report.tasks, attempt.task])
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
    package: str,
    before: str,
    after: str,
    out: Path,
    provider: ImageProvider,
    settings: ReleaseSettings,
) -> Task:
    old, new = await asyncio.gather(
        asyncio.to_thread(fetch, package, before), asyncio.to_thread(fetch, package, after)
    )
    return await task_of_pair(old, new, out, provider, settings)


async def task_of_pair(
    old: Release,
    new: Release,
    out: Path,
    provider: ImageProvider,
    settings: ReleaseSettings,
) -> Task:
    """The task of two releases; the newer one's files go to `repos` beside `out`.

    Raises PackageError with the reason why they give none.
    """
    pair = lay_over(old, new)
    size = fix_size(pair.fix)
    if size.lines > settings.max_fix_lines:
        raise PackageError(
            f"the fix is too large: {size.lines} lines in {size.files} files"
            f" (at most {settings.max_fix_lines})"
        )
    with tempfile.TemporaryDirectory(prefix="agentrl-site-") as scratch:
        site = await asyncio.to_thread(resolve, new.package.name, new.requirements, Path(scratch))
    proof, plugins = await _proven(pair, site, provider, settings)
    if len(proof.fail_to_pass) > settings.max_failing:
        raise PackageError(
            f"{len(proof.fail_to_pass)} tests fail on the older source"
            f" (at most {settings.max_failing})"
        )
    task = make_task(pair, replace(site, plugins=plugins), proof)
    archive = out.parent / "repos" / f"{digest(pair.pristine)}.tar.gz"
    archive.parent.mkdir(parents=True, exist_ok=True)
    archive.write_bytes(pack(pair.pristine))
    task.metadata["folder"] = str(out.parent)
    try:
        await _checked(task, provider, settings)
    except PackageError:
        archive.unlink()
        raise
    return task


async def _proven(
    pair: Pair, site: Site, provider: ImageProvider, settings: ReleaseSettings
) -> tuple[Proof, list[str]]:
    """What the tests show, and the pytest plugins they are run with."""
    lender = await provider.with_packages(site.requires)
    sandbox = await lender.fresh()
    try:
        bench = _bench(sandbox, pair, site.plugins, settings)
        with tempfile.TemporaryDirectory(prefix="agentrl-pair-") as scratch:
            await asyncio.to_thread(write_folder, pair.pristine, Path(scratch, "repo"))
            await asyncio.gather(bench.start(), bench.load(Path(scratch, "repo")))
        plugins = await _harmless(sandbox, pair, site.plugins, settings)
        proof = await prove(
            _bench(sandbox, pair, plugins, settings),
            pair,
            repeats=settings.repeats,
            timeout=settings.suite_timeout,
            max_seconds=settings.max_test_seconds,
            limit=settings.max_pass_to_pass,
        )
        return proof, plugins
    except SandboxError as error:
        raise PackageError(f"its tests broke the sandbox: {error.what}") from error
    finally:
        await lender.release(sandbox)


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


def make_task(pair: Pair, site: Site, proof: Proof) -> Task:
    """Write a proven pair down."""
    old, new = pair.old.package, pair.new.package
    text, source = issue_text(pair, proof)
    fix = pair.fix
    payload = Payload(
        archive=f"repos/{digest(pair.pristine)}.tar.gz",
        repo=digest(pair.pristine),
        bug=diff_trees(pair.pristine, pair.buggy),
        shown=diff_trees(pair.buggy, pair.base),
        roots=pair.package.roots,
        paths=pair.package.paths,
        tests=new.tests,
        requires=site.requires,
        plugins=site.plugins,
        ini=pair.new.ini,
    )
    reference = Reference(
        gold_patch=fix, fail_to_pass=proof.fail_to_pass, pass_to_pass=proof.pass_to_pass
    )
    size = fix_size(fix)
    value, name = difficulty(fix, len(proof.fail_to_pass))
    key = hashlib.sha256(f"{new.name}\0{old.version}\0{new.version}".encode()).hexdigest()[:6]
    return Task(
        f"{new.name.lower()}-{new.version}-{key}",
        text,
        environment="swe",
        payload=payload.model_dump(),
        reference=reference.model_dump(),
        metadata={
            "source": "releases",
            "package": new.name,
            "repository": pair.new.repository or new.name.lower(),
            "version": old.version,
            "fixed_in": new.version,
            "issue_from": source,
            "failing_tests": len(proof.fail_to_pass),
            "uncollected": proof.unseen,
            "fix_lines": size.lines,
            "fix_files": size.files,
            "difficulty": value,
            "difficulty_name": name,
            "seconds": round(proof.seconds, 2),
        },
    )
