"""Removing sandbox images that nobody has used for long, or that are too many.

`python -m agentrl.sandboxes.collect --days 14 --gigabytes 30` (`--dry-run` only lists).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

from agentrl.core import SandboxError
from agentrl.sandboxes.engine import DockerEngine

PREFIX = "agentrl/"


@dataclass(frozen=True, slots=True)
class ImageUse:
    """An image of ours: its tag, bytes (layers that others share included), when it was used last
    (seconds since the epoch), and whether a container is made of it."""

    tag: str
    size: int
    used: float
    busy: bool


def note_use(tag: str) -> None:
    """Remember that an image was asked for, for Docker does not. Only advice: it never fails."""
    with contextlib.suppress(OSError):
        mark = _mark(tag)
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()


def images(engine: DockerEngine) -> list[ImageUse]:
    """Ours, the longest unused first. One that was never asked for on this machine counts from when
    it was made."""
    containers = engine.checked(lambda: engine.api.containers(all=True))
    busy = {container["ImageID"] for container in containers}
    found = []
    for image in engine.checked(engine.api.images):
        for tag in image.get("RepoTags") or []:
            short = tag.removeprefix("docker.io/")
            if short.startswith(PREFIX):
                used = _used(short) or float(image["Created"])
                found.append(ImageUse(short, image["Size"], used, image["Id"] in busy))
    return sorted(found, key=lambda image: (image.used, image.tag))


def collect(
    engine: DockerEngine, *, days: float = 14.0, gigabytes: float = 30.0, dry_run: bool = False
) -> list[str]:
    """Remove images unused for `days`, then the longest unused until they are below `gigabytes` in
    sum; returns the tags. Images that containers are made of stay.

    Raises SandboxError when the engine is gone.
    """
    found = images(engine)
    total = sum(image.size for image in found)
    old = time.time() - days * 86400
    removed = []
    for image in found:
        if image.busy or (image.used >= old and total <= gigabytes * 1e9):
            continue
        if not dry_run and not _remove(engine, image.tag):
            continue
        total -= image.size
        removed.append(image.tag)
    return removed


def _remove(engine: DockerEngine, tag: str) -> bool:
    """False when the engine refuses, such as for an image that came into use meanwhile."""
    try:
        engine.checked(lambda: engine.api.remove_image(tag))
    except SandboxError as error:
        if error.cause not in ("docker_refused", "image_missing"):
            raise
        return False
    _mark(tag).unlink(missing_ok=True)
    return True


def _mark(tag: str) -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "agentrl" / "images" / tag.replace("/", "_").replace(":", "_")


def _used(tag: str) -> float:
    try:
        return _mark(tag).stat().st_mtime
    except OSError:
        return 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--days", type=float, default=14.0)
    parser.add_argument("--gigabytes", type=float, default=30.0)
    parser.add_argument("--dry-run", action="store_true")
    options = parser.parse_args()
    engine = DockerEngine()
    for tag in collect(
        engine, days=options.days, gigabytes=options.gigabytes, dry_run=options.dry_run
    ):
        print(tag)


if __name__ == "__main__":
    main()
