"""Task files: one JSON object a line, checked as it comes in."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agentrl.core.errors import TaskFileError
from agentrl.core.task import Task

# Where a task was read from; set by read_tasks, not written by write_tasks.
FOLDER, LINE = "folder", "line"


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    id: str = Field(min_length=1)
    prompt: str
    environment: str = ""
    payload: dict[str, Any] = {}
    reference: dict[str, Any] = {}
    metadata: dict[str, Any] = {}


def read_tasks(path: str | Path) -> list[Task]:
    """Every task of a file, in order; empty lines are skipped.

    `metadata["folder"]` becomes the file's folder, so that files a task refers to can lie beside
    it, and `metadata["line"]` the "file:line" that messages name.

    Raises:
        TaskFileError: the file cannot be read, holds no task, or a line is not one; names the
            line, the field and what is allowed.
    """
    path = Path(path)
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise TaskFileError(
            f"the task file cannot be read: {error.strerror}",
            where=str(path),
            fix="check the path, or make one with `agentrl tasks synth`",
        ) from error
    tasks: list[Task] = []
    first_line: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        task = _task_of(line, f"{path}:{number}")
        if task.id in first_line:
            raise TaskFileError(
                f"task id {task.id!r} is already used in line {first_line[task.id]}",
                where=f"{path}:{number}",
                fix="every task needs an id of its own",
            )
        first_line[task.id] = number
        task.metadata = {**task.metadata, FOLDER: str(path.parent), LINE: f"{path}:{number}"}
        tasks.append(task)
    if not tasks:
        raise TaskFileError("the task file holds no task", where=str(path))
    return tasks


def write_tasks(path: str | Path, tasks: Iterable[Task]) -> None:
    """Write a task file; the old one stays whole until the new one is complete."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with partial.open("w", encoding="utf-8", newline="\n") as file:
        for task in tasks:
            line = asdict(task)
            line["metadata"] = {
                key: value for key, value in task.metadata.items() if key not in (FOLDER, LINE)
            }
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    partial.replace(path)


def _task_of(line: bytes, where: str) -> Task:
    try:
        data = json.loads(line)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise TaskFileError(
            f"not JSON: {error}", where=where, fix="each line is one JSON object"
        ) from error
    except RecursionError as error:
        raise TaskFileError("nested too deeply", where=where) from error
    try:
        return Task(**_Line.model_validate(data).model_dump())
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        what = f"field {field!r}: {first['msg']}" if field else first["msg"]
        raise TaskFileError(
            what,
            where=where,
            fix="allowed: id and prompt (text, required), environment (text), payload, reference "
            "and metadata (objects)",
        ) from error
