"""The image of a task folder, made fit for a sandbox whose root file system is read-only."""

from __future__ import annotations

import asyncio
import hashlib
import shlex
from dataclasses import dataclass
from pathlib import Path

from agentrl.core import SandboxError
from agentrl.environments.builds import build_image, digest, image_exists
from agentrl.environments.harbor.folder import HarborPayload
from agentrl.sandboxes import DockerEngine

KEPT = "/opt/agentrl/start"
INSIDE = "/tmp/harbor"
_FALLBACK = "/app"
# /tests, /logs and /solution are where the scripts of such tasks look; only /tmp can be written.
_READY = """\
FROM {image}
USER 0
RUN mkdir -p {kept} {workdir} && cp -a {workdir}/. {kept}/ && chmod -R a+rX {kept} \\
 && for name in tests logs solution; do rm -rf /$name; ln -s {inside}/$name /$name; done
"""


@dataclass(slots=True, frozen=True)
class Ready:
    """A tag, and the working directory of its sandboxes."""

    tag: str
    workdir: str


async def ready_image(payload: HarborPayload, host: str | None = None) -> Ready:
    """Build the task's image where it is missing, and the layer above it.

    Raises SandboxError: no Docker, or it does not build within `build_seconds`.
    """
    try:
        async with asyncio.timeout(payload.build_seconds + 60):
            return await asyncio.to_thread(_ready, payload, host)
    except TimeoutError as error:
        raise SandboxError(
            "docker_refused",
            f"the image was not built within {payload.build_seconds:g} s",
            where=payload.folder,
        ) from error


def _ready(payload: HarborPayload, host: str | None) -> Ready:
    engine = DockerEngine(host)
    try:
        image = payload.image or _built(engine, payload)
        found = engine.checked(lambda: engine.api.inspect_image(image))
        workdir = payload.workdir or found["Config"].get("WorkingDir") or _FALLBACK
        workdir = _FALLBACK if workdir == "/" else workdir
        text = _READY.format(image=image, kept=KEPT, workdir=shlex.quote(workdir), inside=INSIDE)
        tag = f"agentrl/harbor:{digest(found['Id'], text)}"
        if not image_exists(engine, tag):
            files = {"Dockerfile": (text.encode(), 0o644)}
            build_image(engine, tag, files, where=payload.folder)
        return Ready(tag, workdir)
    finally:
        engine.close()


def _built(engine: DockerEngine, payload: HarborPayload) -> str:
    folder = Path(payload.folder, payload.context)
    if not (folder / "Dockerfile").is_file():
        raise SandboxError(
            "image_missing", "there is no Dockerfile and no docker_image", where=str(folder)
        )
    files = {
        path.relative_to(folder).as_posix(): (path.read_bytes(), path.stat().st_mode & 0o777)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not (payload.context == "." and _is_secret(path, folder))
    }
    contents = [f"{name}:{hashlib.sha256(data).hexdigest()}" for name, (data, _) in files.items()]
    tag = f"agentrl/harbor:{digest(*contents)}"
    if not image_exists(engine, tag):
        build_image(engine, tag, files, network="host", where=payload.folder)
    return tag


def _is_secret(path: Path, folder: Path) -> bool:
    """In Terminal-Bench's layout tests and solution lie in the context; no image may hold them."""
    first = path.relative_to(folder).parts[0]
    return first in ("tests", "run-tests.sh", "solution.sh", "solution.yaml", "task.yaml")
