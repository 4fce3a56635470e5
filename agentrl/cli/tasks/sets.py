"""`agentrl tasks dedup | split | decontaminate`: sets of tasks that do not overlap."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_command(actions: Any) -> None:
    dedup = actions.add_parser("dedup", help="leave out tasks that are nearly another one")
    dedup.add_argument("file", type=Path)
    dedup.add_argument("--out", type=Path, required=True)
    dedup.add_argument(
        "--similarity", type=float, default=0.9, help="of word sequences, 0 to 1 (default 0.9)"
    )
    dedup.set_defaults(run=_dedup)
    split = actions.add_parser("split", help="divide a file so that no repository is on both sides")
    split.add_argument("file", type=Path)
    split.add_argument("--train", type=Path, required=True, metavar="FILE")
    split.add_argument("--held-out", type=Path, required=True, metavar="FILE")
    split.add_argument("--share", type=float, default=0.1, help="held out, about (default 0.1)")
    split.add_argument("--seed", type=int, default=0)
    split.set_defaults(run=_split)
    clean = actions.add_parser(
        "decontaminate", help="leave out tasks that a named evaluation set contains"
    )
    clean.add_argument("file", type=Path)
    clean.add_argument(
        "--against", required=True, metavar="SET", help="a task file, or a data set by name or path"
    )
    clean.add_argument("--out", type=Path, required=True)
    clean.add_argument(
        "--repositories", action="store_true", help="also everything from its repositories"
    )
    clean.set_defaults(run=_decontaminate)


def _dedup(options: argparse.Namespace) -> int:
    from agentrl.core.taskfile import read_tasks
    from agentrl.environments.swe.sets import deduplicate

    kept, dropped = deduplicate(read_tasks(options.file), options.similarity)
    return _written(options.file, {options.out: kept}, dropped)


def _split(options: argparse.Namespace) -> int:
    from agentrl.core.taskfile import read_tasks
    from agentrl.environments.swe.sets import split_by_repository

    train, held_out = split_by_repository(
        read_tasks(options.file), options.share, seed=options.seed
    )
    return _written(options.file, {options.train: train, options.held_out: held_out}, {})


def _decontaminate(options: argparse.Namespace) -> int:
    from agentrl.core.taskfile import read_tasks
    from agentrl.environments.swe.sets import decontaminate
    from agentrl.environments.swe.swebench import load_set

    against = (
        read_tasks(options.against) if _is_task_file(options.against) else load_set(options.against)
    )
    kept, dropped = decontaminate(
        read_tasks(options.file), against, repositories=options.repositories
    )
    return _written(options.file, {options.out: kept}, dropped)


def _is_task_file(name: str) -> bool:
    from agentrl.core import TaskFileError
    from agentrl.core.taskfile import read_tasks

    if not name.endswith(".jsonl"):
        return False
    try:
        read_tasks(name)
    except TaskFileError:
        return False
    return True


def _written(source: Path, files: dict[Path, list[Any]], dropped: dict[str, str]) -> int:
    from agentrl.core import ConfigError
    from agentrl.core.taskfile import write_tasks

    for path in files:
        if path.parent.absolute() != source.parent.absolute():
            raise ConfigError(
                f"{path} is not in the folder of {source}, whose files its tasks name",
                fix=f"give {source.with_name(path.name)}",
            )
    for task, reason in dropped.items():
        print(f"{task}: {reason}")
    for path, tasks in files.items():
        if tasks:
            write_tasks(path, tasks)
        print(f"{len(tasks)} tasks in {path}" if tasks else f"no task for {path}")
    return 0
