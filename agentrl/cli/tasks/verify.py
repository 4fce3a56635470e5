"""`agentrl tasks verify`: can each task be solved, and is it not solved yet?"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentrl.cli.tasks.options import make_provider, sandbox_options

if TYPE_CHECKING:
    from agentrl.core import Task
    from agentrl.environments.swe.vetting import Vetted


def add_command(actions: Any) -> None:
    command = actions.add_parser(
        "verify",
        help="check that every task of a file can be solved and is not solved yet",
        description="The gold patch must pass the hidden tests in every run, no patch must fail"
        " them, and the answer must stand nowhere that the agent can read. What was found is"
        " written to FILE.verified.jsonl beside the task file. Exit code 1 when some task does"
        " not hold.",
    )
    command.add_argument(
        "file", type=Path, metavar="FILE", help="a task file, or a folder of Harbor task folders"
    )
    command.add_argument(
        "--runs", type=int, default=3, metavar="N", help="runs with the gold patch (default 3)"
    )
    command.add_argument(
        "--max-seconds", type=float, default=120.0, metavar="S", help="of one run (default 120)"
    )
    command.add_argument(
        "--out", type=Path, metavar="FILE", help="write the tasks that hold to a file"
    )
    sandbox_options(command)
    command.set_defaults(run=_verify)


def _verify(options: argparse.Namespace) -> int:
    from agentrl.core import ConfigError
    from agentrl.core.taskfile import write_tasks
    from agentrl.environments.swe.vetting import report_file, write_report

    if options.out and options.out.parent.absolute() != options.file.parent.absolute():
        raise ConfigError(
            f"{options.out} is not in the folder of {options.file}, where `repos` is",
            where="--out",
            fix=f"give {options.file.with_name(options.out.name)}",
        )
    tasks = _tasks(options.file)
    found = asyncio.run(_vet_all(tasks, options))
    write_report(options.file, found)
    held = [task for task, vetted in zip(tasks, found, strict=True) if vetted.holds]
    if options.out and held:
        write_tasks(options.out, held)
    print(f"{len(held)} of {len(tasks)} tasks hold; {report_file(options.file)} says why")
    return 0 if len(held) == len(tasks) else 1


def _tasks(path: Path) -> list[Task]:
    from agentrl.core.taskfile import read_tasks

    if path.is_dir():
        from agentrl.environments.harbor import load_folders

        return load_folders(path)
    return read_tasks(path)


async def _vet(task: Task, provider: Any, options: argparse.Namespace) -> Vetted:
    """Each kind of task by its own judge."""
    runs, seconds = options.runs, options.max_seconds
    if task.environment == "harbor":
        from agentrl.environments.harbor import vet_folder

        return await vet_folder(task, provider, runs=runs)
    if task.environment == "swebench":
        from agentrl.environments.swe.swebench import vet_instance

        return await vet_instance(task, provider, runs=runs, max_seconds=seconds)
    from agentrl.environments.swe.vetting import vet

    return await vet(task, provider, runs=runs, max_seconds=seconds)


async def _vet_all(tasks: list[Task], options: argparse.Namespace) -> list[Vetted]:
    provider = make_provider(options)
    slots = asyncio.Semaphore(options.parallel)

    async def one(task: Task) -> Vetted:
        async with slots:
            vetted = await _vet(task, provider, options)
        for reason in vetted.reasons:
            print(f"{task.id}: {reason}")
        return vetted

    try:
        return list(await asyncio.gather(*map(one, tasks)))
    finally:
        await provider.close()
