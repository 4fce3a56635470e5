"""Building images of the Docker engine from files given here."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Mapping
from typing import Literal

from agentrl.core import SandboxError
from agentrl.sandboxes import DockerEngine

_SAID = 1500


def build_image(
    engine: DockerEngine,
    tag: str,
    files: Mapping[str, tuple[bytes, int]],
    *,
    network: Literal["none", "host"] = "none",
    labels: Mapping[str, str] | None = None,
    where: str = "",
) -> None:
    """Build `tag` from a context of files (content and mode by path), one of them `Dockerfile`.

    Args:
        network: of the build alone; sandboxes never have any.

    Raises SandboxError: `image_missing` when the base is not there and cannot be pulled,
    `docker_refused` with the end of what the build said.
    """
    engine.checked(lambda: _build(engine, tag, files, network, dict(labels or {}), where))


def image_exists(engine: DockerEngine, tag: str) -> bool:
    import docker.errors

    def ask() -> bool:
        try:
            engine.api.inspect_image(tag)
        except docker.errors.ImageNotFound:
            return False
        return True

    return engine.checked(ask)


def digest(*parts: str) -> str:
    """Sixteen hexadecimal digits for a tag."""
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=8).hexdigest()


def _build(
    engine: DockerEngine,
    tag: str,
    files: Mapping[str, tuple[bytes, int]],
    network: str,
    labels: dict[str, str],
    where: str,
) -> None:
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as archive:
        for name, (data, mode) in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), mode
            archive.addfile(entry, io.BytesIO(data))
    context.seek(0)
    said: list[str] = []
    for event in engine.api.build(
        fileobj=context, custom_context=True, tag=tag, rm=True, forcerm=True, decode=True,
        network_mode=network, labels=labels,
    ):  # fmt: skip
        said.append(event.get("stream", ""))
        error = event.get("error")
        if error:
            missing = "pull access denied" in error or "manifest unknown" in error
            raise SandboxError(
                "image_missing" if missing else "docker_refused",
                f"the image {tag} was not built: {error}\n{''.join(said)[-_SAID:]}",
                where=where or engine.host,
                fix="pull or load the image that it builds on" if missing else "mend the build",
            )
