"""`agentrl tasks from-releases`: real bugs from packages' release histories."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentrl.cli.tasks.options import make_images

if TYPE_CHECKING:
    from agentrl.environments.swe.releases import Attempt, ReleaseReport


def add_command(actions: Any) -> None:
    command = actions.add_parser(
        "from-releases",
        help="make repair tasks from what packages fixed between two releases",
        description="Takes the source distributions of two releases, runs the newer one's tests on"
        " both sources, and keeps the pair when some test tells them apart. The issue is the"
        " newer one's entry in the change log. For each pair that gives no task it says why."
        " Exit code 1 when there is no task at all.",
    )
    command.add_argument("packages", nargs="+", metavar="PACKAGE", help="names on PyPI")
    command.add_argument("--old", help="the release with the bug (default: the one before)")
    command.add_argument("--new", help="the release with the fix (default: the newest)")
    command.add_argument("--out", type=Path, required=True, help="task file to write (.jsonl)")
    command.add_argument(
        "--last", type=int, default=3, metavar="N", help="pairs to try of each package (default 3)"
    )
    command.add_argument(
        "--count", type=int, default=1, metavar="N",
        help="stop after so many pairs of a package that gave tasks (1)",
    )  # fmt: skip
    command.add_argument(
        "--whole", action="store_true",
        help="one task of a pair, also where its tests tell single fixes apart",
    )  # fmt: skip
    command.add_argument(
        "--max-fix-lines", type=int, default=600, metavar="N", help="refuse larger fixes (600)"
    )
    command.add_argument("--repeats", type=int, default=3, help="runs of each side (default 3)")
    command.add_argument("--json", action="store_true", help="print the outcomes as JSON lines")
    command.add_argument("--image", help="docker image (default: the one agentrl builds)")
    command.set_defaults(run=_run, parallel=2)


def _run(options: argparse.Namespace) -> int:
    report = asyncio.run(_make(options))
    if options.json:
        for attempt in report.attempts:
            row = asdict(attempt)
            row["tasks"] = [task.id for task in attempt.tasks]
            print(json.dumps(row))
    tried = len(report.attempts)
    print(f"{len(report.tasks)} tasks from {tried} pairs of releases", file=sys.stderr)
    if report.tasks:
        print(f"{len(report.tasks)} tasks in {options.out}")
    return 0 if report.tasks else 1


async def _make(options: argparse.Namespace) -> ReleaseReport:
    from agentrl.core import ConfigError
    from agentrl.environments.swe.releases import ReleaseSettings, tasks_from_releases

    if (options.old or options.new) and len(options.packages) > 1:
        raise ConfigError("versions belong to one package", where="--old, --new")
    settings = ReleaseSettings(
        last=options.last,
        wanted=options.count,
        split=not options.whole,
        repeats=options.repeats,
        max_fix_lines=options.max_fix_lines,
    )
    async with make_images(options) as provider:
        return await tasks_from_releases(
            options.packages,
            options.out,
            provider,
            settings,
            old=options.old,
            new=options.new,
            progress=_show,
        )


def _show(attempt: Attempt) -> None:
    pair = f"{attempt.package} {attempt.old} -> {attempt.new}"
    if not attempt.tasks:
        print(f"{pair}: no task: {attempt.reason}", file=sys.stderr)
        return
    single = sum(task.metadata["single_fix"] for task in attempt.tasks)
    if single:
        print(f"{pair}: {single} single fixes", file=sys.stderr)
    for task in attempt.tasks:
        found, reference = task.metadata, task.reference
        print(
            f"{f'  {task.id}' if single else pair}:"
            f" {len(reference['fail_to_pass'])} tests fail before and pass after,"
            f" {len(reference['pass_to_pass'])} pass on both; a fix of {found['fix_lines']} lines"
            f" in {found['fix_files']} files; issue from the {found['issue_from']}",
            file=sys.stderr,
        )
    for note in attempt.notes:
        print(f"  {note}", file=sys.stderr)
