"""Images for sandboxes: from local files where no registry can be reached, else from a base.

`python -m agentrl.sandboxes.images` builds the default one.

Files are copied into the image, not mounted from the host: the agent then sees nothing of the
host, and the image also works on a remote engine. That costs some seconds once; the tag is made
from all that goes in, so a change builds anew and nothing else does.
"""

from __future__ import annotations

import hashlib
import io
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from agentrl.core import ConfigError, SandboxError
from agentrl.sandboxes import localfiles
from agentrl.sandboxes.collect import note_use
from agentrl.sandboxes.engine import DockerEngine

TESTING = ("pytest",)
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CHANGES = [f"ENV PATH={PATH}", "ENV LANG=C.UTF-8", "WORKDIR /work", 'CMD ["python3"]']
FROM_REGISTRY = """\
FROM {base}
USER 0
RUN command -v git >/dev/null && command -v ps >/dev/null || \\
    (apt-get update && apt-get install -y --no-install-recommends git procps \\
     && rm -rf /var/lib/apt/lists/*)
RUN python3 -c "import pytest" || python3 -m pip install --no-cache-dir {packages}
RUN grep -q "^agent:" /etc/passwd || echo "agent:x:1000:1000::/home/agent:/bin/bash" >>/etc/passwd
RUN python3 -c "import compileall as c, sysconfig as s; \\
    [c.compile_dir(s.get_path(k), quiet=2) for k in ('stdlib', 'purelib')]"
"""


def ensure_image(
    name: str = "python",
    *,
    base: str | None = None,
    packages: Iterable[str] = (),
    extra_site: Path | None = None,
    engine: DockerEngine | None = None,
) -> str:
    """The tag of a sandbox image with Python, pytest, bash, git and coreutils; built if missing.

    Args:
        name: the image is called `agentrl/<name>:<digest of its content>`.
        base: an image from a registry, such as `python:3.11-slim`; None builds from the files of
            this machine (about 10 s, no network).
        packages: further Python packages, taken from the running environment with all they need.
        extra_site: a folder as made by `pip install --target`, added to the packages.

    Raises:
        SandboxError: no Docker (see `DockerEngine`), or it could not build.
        ConfigError: a package or command is missing here, or `extra_site` is not a folder.
    """
    own = engine or DockerEngine()
    try:
        below = _from_registry(own, base) if base else _from_local_files(own)
        wanted = list(packages)
        return _layer(own, name, below, wanted, extra_site) if wanted or extra_site else below
    finally:
        if engine is None:
            own.close()


def exists(engine: DockerEngine, tag: str) -> bool:
    import docker.errors

    try:
        engine.api.inspect_image(tag)
    except docker.errors.ImageNotFound:
        return False
    return True


def _from_local_files(engine: DockerEngine) -> str:
    digest = _Digest(Path(localfiles.__file__).read_bytes(), sys.version, *CHANGES)
    for path in [*localfiles.userland(), localfiles.interpreter()]:
        digest.stat(path)
    for distribution in localfiles.with_dependencies(TESTING):
        digest.add(distribution.metadata["Name"], distribution.version)
    tag = f"agentrl/base:{digest}"

    def build() -> None:
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder, "root.tar")
            localfiles.write(localfiles.collect(TESTING), target)
            # Name and tag in one: Podman's API overlooks a tag of its own.
            engine.api.import_image_from_file(str(target), repository=tag, changes=CHANGES)

    return _built(engine, tag, build)


def _from_registry(engine: DockerEngine, base: str) -> str:
    text = FROM_REGISTRY.format(base=base, packages=" ".join(TESTING))
    tag = f"agentrl/base:{_Digest(text)}"
    return _built(engine, tag, lambda: _build(engine, tag, text, lambda _: None))


def _layer(
    engine: DockerEngine, name: str, below: str, packages: list[str], extra_site: Path | None
) -> str:
    """Further packages above an image, shared by all images with the same ones below."""
    target = _site_packages(engine, below)
    digest = _Digest(below, str(target))
    files: dict[Path, Path] = {}
    if packages:
        for distribution in localfiles.with_dependencies(packages):
            digest.add(distribution.metadata["Name"], distribution.version)
        root = localfiles.site_packages()
        for here, there in localfiles.package_files(packages):
            files[target / there.relative_to(root)] = here
    if extra_site is not None:
        if not extra_site.is_dir():
            raise ConfigError(
                f"no such folder: {extra_site}",
                where="extra_site",
                fix=f"make it with `pip install --target {extra_site} PACKAGE ...`",
            )
        for here in sorted(path for path in extra_site.rglob("*") if path.is_file()):
            digest.add(str(here.relative_to(extra_site)), here.read_bytes())
            files[target / here.relative_to(extra_site)] = here

    def add(context: tarfile.TarFile) -> None:
        with tempfile.TemporaryDirectory() as folder:
            layer = Path(folder, "layer.tar")
            with tarfile.open(layer, "w", format=tarfile.PAX_FORMAT) as archive:
                localfiles.add_files(archive, files, Path(folder))
            context.add(layer, arcname="layer.tar")

    tag = f"agentrl/{name}:{digest}"
    text = f"FROM {below}\nUSER 0\nADD layer.tar /\n"
    return _built(engine, tag, lambda: _build(engine, tag, text, add))


def _site_packages(engine: DockerEngine, image: str) -> Path:
    """Where the image's own Python looks for packages, told by a container of it."""
    code = "import site; print(site.getsitepackages()[0], end='')"

    def ask() -> str:
        host = {"NetworkMode": "none"}
        config = {"Image": image, "Entrypoint": ["python3"], "Cmd": ["-I", "-c", code]}
        container = engine.api.create_container_from_config({**config, "HostConfig": host})["Id"]
        try:
            engine.api.start(container)
            engine.api.wait(container)
            return str(engine.api.logs(container, stderr=False).decode())
        finally:
            engine.api.remove_container(container, force=True)

    return Path(engine.checked(ask))


def _built(engine: DockerEngine, tag: str, build: Callable[[], None]) -> str:
    if not engine.checked(lambda: exists(engine, tag)):
        engine.checked(build)
        if not engine.checked(lambda: exists(engine, tag)):
            raise SandboxError("docker_refused", f"the image {tag} was not built")
    note_use(tag)
    return tag


def _build(
    engine: DockerEngine, tag: str, dockerfile: str, add: Callable[[tarfile.TarFile], None]
) -> None:
    """`docker build` with a context made here; the engine's own message when it fails."""
    with tempfile.TemporaryFile() as context:
        with tarfile.open(fileobj=context, mode="w", format=tarfile.PAX_FORMAT) as archive:
            info = tarfile.TarInfo("Dockerfile")
            info.size = len(dockerfile)
            archive.addfile(info, io.BytesIO(dockerfile.encode()))
            add(archive)
        context.seek(0)
        said = []
        for event in engine.api.build(
            fileobj=context, custom_context=True, tag=tag, rm=True, forcerm=True, decode=True
        ):
            said.append(event.get("stream", ""))
            if "error" in event:
                raise SandboxError(
                    "docker_refused",
                    f"building {tag} failed: {event['error']}\n{''.join(said)[-2000:]}",
                    where=engine.host,
                    fix="without a registry or network use base=None (built from local files)",
                )


class _Digest:
    """What goes into an image, as twelve hexadecimal digits."""

    def __init__(self, *parts: str | bytes) -> None:
        self._hash = hashlib.blake2b(digest_size=6)
        self.add(*parts)

    def add(self, *parts: str | bytes) -> None:
        for part in parts:
            data = part.encode() if isinstance(part, str) else part
            self._hash.update(len(data).to_bytes(8, "big") + data)

    def stat(self, path: Path) -> None:
        status = path.stat()
        self.add(str(path), str(status.st_size), str(status.st_mtime_ns))

    def __str__(self) -> str:
        return self._hash.hexdigest()


if __name__ == "__main__":
    print(ensure_image())
