"""Where an agent's commands run."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Tag

from agentrl.training.config.base import Section, by_kind


class DockerConfig(Section):
    """Containers: no network, no capabilities, not root, removed on every way out."""

    kind: Literal["docker"] = "docker"
    pool: Annotated[int, Field(ge=1)] = 8
    """Containers in use at one time; grading may use as many again."""
    spare: Annotated[int, Field(ge=0)] = 1
    """Unused containers that are kept ready."""
    image: str | None = None
    """Image to run; None is the base image of `agentrl sandbox build`."""
    memory_mb: Annotated[int, Field(ge=64)] = 1024
    """Memory of a container, in MiB, its writable folders included."""
    work_mb: Annotated[int, Field(ge=1)] = 256
    """Size of the working directory, in MiB."""
    cpus: Annotated[float, Field(gt=0)] = 1.0
    """Processor time per wall time."""
    pids: Annotated[int, Field(ge=8)] = 256
    """Processes and threads a container may have."""


class ProcessConfig(Section):
    """Plain processes in a temporary directory. This isolates nothing: trusted code only."""

    kind: Literal["process"] = "process"
    pool: Annotated[int, Field(ge=1)] = 8
    """Sandboxes in use at one time; grading may use as many again."""
    spare: Annotated[int, Field(ge=0)] = 1
    """Unused sandboxes that are kept ready."""


SandboxConfig = Annotated[
    Annotated[DockerConfig, Tag("kind=docker")] | Annotated[ProcessConfig, Tag("kind=process")],
    by_kind("docker"),
]
