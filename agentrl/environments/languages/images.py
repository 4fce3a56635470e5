"""Images with the compilers and interpreters of languages, from Debian's packages."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from agentrl.core import ConfigError
from agentrl.environments.builds import build_image, digest, image_exists
from agentrl.environments.languages.language import Language
from agentrl.sandboxes import DockerEngine

SUITE = "bookworm"
MIRROR = "http://deb.debian.org/debian"
BASE = f"agentrl/debian:{SUITE}"
# Where a registry answers, this is the base instead of what debootstrap makes.
REGISTRY_BASE = f"debian:{SUITE}-slim"
_LABEL = "agentrl.debian"
_DOCKERFILE = """\
FROM {base}
RUN apt-get update -qq \\
 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends {packages} \\
 && rm -rf /var/lib/apt/lists/*
"""


async def image_of(language: Language) -> str:
    """The tag of the language's image, which is built when it is missing.

    Raises SandboxError, ConfigError.
    """
    if language.image.tag:
        return language.image.tag
    return await asyncio.to_thread(ensure_debian_image, language.image.debian)


def ensure_debian_image(packages: Iterable[str], *, engine: DockerEngine | None = None) -> str:
    """The tag of an image with these Debian packages beside Python; built if missing.

    An image that was built with more packages serves as well. Needs Debian's mirror, and for the
    base either a registry or `debootstrap` with root rights (about a minute, once).

    Raises:
        SandboxError: no Docker, or it could not build.
        ConfigError: there is no way to a base image; says what is missing.
    """
    own = engine or DockerEngine()
    try:
        wanted = sorted({"python3", *packages})
        found = _that_has(own, wanted)
        if found:
            return found
        tag = f"agentrl/debian:{digest(*wanted)}"
        text = _DOCKERFILE.format(base=_base(own), packages=" ".join(wanted))
        labels = {_LABEL: " ".join(wanted)}
        files = {"Dockerfile": (text.encode(), 0o644)}
        build_image(own, tag, files, network="host", labels=labels, where="image.debian")
        return tag
    finally:
        if engine is None:
            own.close()


def _that_has(engine: DockerEngine, wanted: list[str]) -> str:
    """The tag of a built image whose packages include these, the one with the fewest."""
    images = engine.checked(lambda: engine.api.images(filters={"label": _LABEL}))
    serving = []
    for image in images:
        has = (image.get("Labels") or {}).get(_LABEL, "").split()
        if image.get("RepoTags") and set(wanted) <= set(has):
            serving.append((len(has), image["RepoTags"][0]))
    return min(serving)[1] if serving else ""


def _base(engine: DockerEngine) -> str:
    import docker.errors

    for tag in (BASE, REGISTRY_BASE):
        if image_exists(engine, tag):
            return tag
    if shutil.which("debootstrap") and os.geteuid() == 0:
        engine.checked(lambda: _debootstrapped(engine))
        return BASE
    try:
        engine.api.pull("debian", f"{SUITE}-slim")
        return REGISTRY_BASE
    except docker.errors.APIError as error:
        raise ConfigError(
            f"there is no Debian image to build on, and no registry answers: {error}",
            fix=f"docker pull {REGISTRY_BASE} elsewhere and load it, or as root: apt-get install"
            " debootstrap",
        ) from error


def _debootstrapped(engine: DockerEngine) -> None:
    with tempfile.TemporaryDirectory(prefix="agentrl-debian-") as scratch:
        root = Path(scratch, "root")
        command = ["debootstrap", "--variant=minbase", SUITE, str(root), MIRROR]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ConfigError(
                f"debootstrap failed: {done.stdout[-500:]}{done.stderr[-500:]}",
                fix=f"check that {MIRROR} can be reached",
            )
        archive = Path(scratch, "root.tar")
        subprocess.run(["tar", "-C", str(root), "-cf", str(archive), "."], check=True)
        repository, _, tag = BASE.partition(":")
        engine.api.import_image_from_file(str(archive), repository=repository, tag=tag)
