"""Task folders of Harbor, and of Terminal-Bench before it, as tasks.

Harbor: `task.toml`, `instruction.md`, `environment/Dockerfile`, `tests/test.sh`, and maybe
`solution/solve.sh`. Terminal-Bench: `task.yaml`, `Dockerfile`, `run-tests.sh`, `tests/`, and maybe
`solution.sh`. Only the settings that are honoured here are read; see docs/tasks.md.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agentrl.core import Task, TaskFileError

ENVIRONMENT = "harbor"
Network = Literal["public", "no-network", "allowlist"]
_SIZES = {"k": 1 / 1024, "m": 1.0, "g": 1024.0, "t": 1024.0 * 1024}


class HarborPayload(BaseModel):
    """What it takes to set the scene.

    Attributes:
        folder: of the task, absolute.
        context: of the image's build, relative to it; dockerfile is in there.
        image: a ready image in the place of a build, "" for none.
        workdir: "" takes the image's.
        network: what the task asks for; sandboxes have none, whatever it is.
        agent_seconds: from the first message to the last.
    """

    model_config = ConfigDict(extra="forbid")

    folder: str
    context: str = "environment"
    image: str = ""
    workdir: str = ""
    network: Network = "public"
    allowed_hosts: list[str] = []
    agent_seconds: float = Field(600.0, gt=0)
    build_seconds: float = Field(600.0, gt=0)
    memory_mb: float | None = None
    cpus: float | None = None
    env: dict[str, str] = {}


class HarborReference(BaseModel):
    """Privileged: what judges it.

    Attributes:
        tests: folder that becomes /tests; script: run by bash there, or relative to the task's.
        by_exit_code: the script's exit code is the reward (Terminal-Bench), not a file.
        solution: script that solves it, "" for none.
    """

    model_config = ConfigDict(extra="forbid")

    tests: str = "tests"
    script: str = "tests/test.sh"
    by_exit_code: bool = False
    solution: str = ""
    verifier_seconds: float = Field(600.0, gt=0)
    verifier_network: Network | None = None
    env: dict[str, str] = {}


def load_folders(root: Path) -> list[Task]:
    """Every task below a folder, by name. Raises TaskFileError, also when there is none."""
    found = sorted({p.parent for name in ("task.toml", "task.yaml") for p in root.rglob(name)})
    if not found:
        raise TaskFileError(
            "no task folder below it",
            where=str(root),
            fix="a task folder holds task.toml (Harbor) or task.yaml (Terminal-Bench)",
        )
    return [load_folder(folder) for folder in found]


def load_folder(folder: Path) -> Task:
    """One task. Raises TaskFileError that names the file and the key."""
    folder = folder.resolve()
    if (folder / "task.toml").is_file():
        return _harbor(folder)
    return _terminal_bench(folder)


def _harbor(folder: Path) -> Task:
    path = folder / "task.toml"
    try:
        data = tomllib.loads(path.read_text("utf-8"))
        prompt = (folder / "instruction.md").read_text("utf-8").strip()
    except (OSError, ValueError) as error:
        raise TaskFileError(str(error), where=str(path)) from error
    if data.get("steps"):
        raise TaskFileError("tasks of several steps are not supported", where=str(path))
    place, agent, verifier = (data.get(k) or {} for k in ("environment", "agent", "verifier"))
    if (place.get("os") or "linux") != "linux":
        raise TaskFileError(f"needs {place['os']}", where=str(path))
    network = _network(place)
    payload = _checked(
        HarborPayload,
        path,
        folder=str(folder),
        image=place.get("docker_image") or "",
        workdir=place.get("workdir") or "",
        network=agent.get("network_mode") or network,
        allowed_hosts=agent.get("allowed_hosts") or place.get("allowed_hosts") or [],
        agent_seconds=agent.get("timeout_sec") or 600.0,
        build_seconds=place.get("build_timeout_sec") or 600.0,
        memory_mb=place.get("memory_mb") or _megabytes(place.get("memory")),
        cpus=place.get("cpus"),
        env={k: str(v) for k, v in (place.get("env") or {}).items()},
    )
    solution = "solution/solve.sh" if (folder / "solution/solve.sh").is_file() else ""
    reference = _checked(
        HarborReference,
        path,
        solution=solution,
        verifier_seconds=verifier.get("timeout_sec") or 600.0,
        verifier_network=verifier.get("network_mode"),
        env={k: str(v) for k, v in (verifier.get("env") or {}).items()},
    )
    name = (data.get("task") or {}).get("name") or folder.name
    metadata = {"source": "harbor", "folder": str(folder), **(data.get("metadata") or {})}
    return _task(name, prompt, payload, reference, metadata, path)


def _terminal_bench(folder: Path) -> Task:
    path = folder / "task.yaml"
    try:
        data = yaml.safe_load(path.read_text("utf-8"))
        prompt = str(data["instruction"]).strip()
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise TaskFileError(f"no instruction to be read: {error}", where=str(path)) from error
    payload = _checked(
        HarborPayload,
        path,
        folder=str(folder),
        context=".",
        agent_seconds=data.get("max_agent_timeout_sec") or 600.0,
    )
    reference = _checked(
        HarborReference,
        path,
        script="run-tests.sh",
        by_exit_code=True,
        solution="solution.sh" if (folder / "solution.sh").is_file() else "",
        verifier_seconds=data.get("max_test_timeout_sec") or 600.0,
    )
    metadata = {"source": "terminal-bench", "folder": str(folder)}
    metadata |= {k: data[k] for k in ("difficulty", "category", "tags") if k in data}
    return _task(folder.name, prompt, payload, reference, metadata, path)


def _task(
    name: str,
    prompt: str,
    payload: BaseModel,
    reference: HarborReference,
    metadata: dict[str, Any],
    path: Path,
) -> Task:
    if not (path.parent / reference.script).is_file():
        raise TaskFileError(f"there is no {reference.script}", where=str(path.parent))
    return Task(
        str(name), prompt, ENVIRONMENT, payload.model_dump(), reference.model_dump(), metadata
    )


def _network(place: dict[str, Any]) -> str:
    if place.get("network_mode"):
        return str(place["network_mode"])
    return "no-network" if place.get("allow_internet") is False else "public"


def _megabytes(text: Any) -> float | None:
    """ "2G" and the like, as older tasks write it."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt])i?b?", str(text or "").strip().lower())
    return float(found[1]) * _SIZES[found[2]] if found else None


def _checked(model: type[Any], path: Path, **fields: Any) -> Any:
    try:
        return model(**fields)
    except ValidationError as error:
        first = error.errors()[0]
        raise TaskFileError(
            f"{'.'.join(map(str, first['loc']))}: {first['msg']}", where=str(path)
        ) from error
