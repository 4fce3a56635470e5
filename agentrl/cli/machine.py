"""`agentrl doctor` and `agentrl sandbox`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from agentrl.cli.show import aligned, print_lines


def add_commands(commands: Any) -> None:
    doctor = commands.add_parser(
        "doctor",
        help="what works on this machine, and what to install for the rest",
        description="Exit code 0 when the core works, whatever else is missing; otherwise 1.",
    )
    doctor.add_argument("--json", action="store_true", help="for programs")
    doctor.add_argument("--dir", type=Path, default=Path(), help="where runs would be kept")
    doctor.set_defaults(run=_doctor)

    sandbox = commands.add_parser("sandbox", help="the image and the containers of sandboxes")
    actions = sandbox.add_subparsers(dest="action", required=True, metavar="ACTION")
    build = actions.add_parser(
        "build",
        help="build the sandbox image if it is missing",
        description="From the files of this machine, without a network, or on a base image.",
    )
    build.add_argument("--base", help="an image to build on, such as python:3.11-slim")
    build.add_argument(
        "--package", action="append", default=[], help="also this Python package (repeatable)"
    )
    build.set_defaults(run=_build)
    reap = actions.add_parser("reap", help="remove containers whose process is gone")
    reap.set_defaults(run=_reap)


def _doctor(options: argparse.Namespace) -> int:
    from dataclasses import asdict

    from agentrl.training.doctor import core_works, examine

    findings = examine(options.dir)
    works = core_works(findings)
    if options.json:
        rows = [asdict(finding) for finding in findings]
        print(json.dumps({"core_works": works, "findings": rows}, indent=1))
        return 0 if works else 1
    table = [("", "", "for", "found")]
    for finding in findings:
        mark = "ok" if finding.ok else "NO" if finding.core else "-"
        table.append((mark, finding.name, finding.purpose, finding.detail))
    print_lines(aligned(table))
    print()
    for finding in findings:
        if not finding.ok:
            print(f"{finding.name}: {finding.fix}")
    print("The core works." if works else "The core does not work yet.")
    return 0 if works else 1


def _build(options: argparse.Namespace) -> int:
    from agentrl.sandboxes import ensure_image

    print(ensure_image(base=options.base, packages=options.package))
    return 0


def _reap(options: argparse.Namespace) -> int:
    from agentrl.sandboxes import DockerEngine, reap

    engine = DockerEngine()
    try:
        removed = reap(engine)
    finally:
        engine.close()
    print("\n".join([*removed, f"{len(removed)} containers removed"]))
    return 0
