"""The image of a task folder, made fit for a sandbox whose root file system is read-only."""

from __future__ import annotations

import asyncio
import hashlib
import io
import shlex
import tarfile
from dataclasses import dataclass
from pathlib import Path

from agentrl.core import SandboxError
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
        tag = f"agentrl/harbor:{_digest(found['Id'] + text)}"
        if not _exists(engine, tag):
            context = _context({"Dockerfile": text.encode()})
            engine.checked(lambda: _build(engine, tag, context, payload, network="none"))
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
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not (payload.context == "." and _is_secret(path, folder))
    }
    content = "".join(
        f"{name}\0{hashlib.sha256(data).hexdigest()}\n" for name, data in files.items()
    )
    tag = f"agentrl/harbor:{_digest(content)}"
    if not _exists(engine, tag):
        context = _context(files, folder)
        engine.checked(lambda: _build(engine, tag, context, payload, network="host"))
    return tag


def _is_secret(path: Path, folder: Path) -> bool:
    """In Terminal-Bench's layout tests and solution lie in the context; no image may hold them."""
    first = path.relative_to(folder).parts[0]
    return first in ("tests", "run-tests.sh", "solution.sh", "solution.yaml", "task.yaml")


def _context(files: dict[str, bytes], folder: Path | None = None) -> io.BytesIO:
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            entry.mode = (folder / name).stat().st_mode & 0o777 if folder else 0o644
            archive.addfile(entry, io.BytesIO(data))
    context.seek(0)
    return context


def _build(
    engine: DockerEngine, tag: str, context: io.BytesIO, payload: HarborPayload, network: str
) -> None:
    said = []
    for event in engine.api.build(
        fileobj=context, custom_context=True, tag=tag, rm=True, forcerm=True, decode=True,
        network_mode=network,
    ):  # fmt: skip
        said.append(event.get("stream", ""))
        if "error" in event:
            raise SandboxError(
                "docker_refused",
                f"the image does not build: {event['error']}\n{''.join(said)[-1500:]}",
                where=payload.folder,
            )


def _exists(engine: DockerEngine, tag: str) -> bool:
    import docker.errors

    try:
        engine.api.inspect_image(tag)
    except docker.errors.ImageNotFound:
        return False
    return True


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
