"""An instance's image made ready for a sandbox with a read-only root file system.

The repository lies where its environment expects it (`/testbed`), which in a sandbox is an empty
writable folder: a copy of it is kept in a layer above and put there at the start. The copy's git
history ends at the task's commit: no branch, tag, remote or loose object of the future is in it.
"""

from __future__ import annotations

import hashlib
import io
import shlex
import tarfile

from agentrl.core import SandboxError
from agentrl.sandboxes import DockerEngine

KEPT = "/opt/agentrl/start"
_DOCKERFILE = """\
FROM {image}
USER 0
RUN mkdir -p /opt/agentrl && cp -a {folder} {kept} && cd {kept} \\
 && if [ -d .git ]; then git config --global --add safe.directory '*' \\
 && git checkout -q --detach {commit} && git clean -qfd -e .venv \\
 && (git remote | xargs -r -n1 git remote remove) \\
 && git for-each-ref --format='delete %(refname)' | git update-ref --stdin \\
 && rm -f .git/FETCH_HEAD .git/ORIG_HEAD .git/packed-refs \\
 && git reflog expire --expire=now --all && git gc -q --prune=now; fi \\
 && chmod -R a+rX {kept} && mkdir -p {folder}
"""
# A set that plants its bugs (SWE-smith) gives them as patches on a repository that works.
_PLANTED = """\
COPY bug.patch /tmp/bug.patch
RUN cd {kept} && git apply /tmp/bug.patch && rm -f /tmp/bug.patch \\
 && git checkout -q --orphan start && git -c user.name=agentrl \\
    -c user.email=agentrl@localhost commit -qam start \\
 && git reflog expire --expire=now --all && git gc -q --prune=now && chmod -R a+rX {kept}
"""


def prepared_image(
    image: str, folder: str, commit: str, bug: str = "", *, engine: DockerEngine
) -> str:
    """The tag of the image made ready; built if missing, without any network.

    Raises SandboxError: `image_missing` when the instance's image is not there and cannot be
    pulled, `docker_refused` when it cannot be built upon.
    """
    import docker.errors

    text = _DOCKERFILE.format(
        image=image, folder=shlex.quote(folder), kept=KEPT, commit=shlex.quote(commit or "HEAD")
    )
    if bug:
        text += _PLANTED.format(kept=KEPT)
    content = f"{text}\0{bug}".encode()
    tag = f"agentrl/instance:{hashlib.blake2b(content, digest_size=8).hexdigest()}"
    try:
        engine.api.inspect_image(tag)
        return tag
    except docker.errors.ImageNotFound:
        pass
    engine.checked(lambda: _build(engine, tag, text, bug))
    return tag


def _build(engine: DockerEngine, tag: str, text: str, bug: str) -> None:
    said = []
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as archive:
        for name, data in (("Dockerfile", text.encode()), ("bug.patch", bug.encode())):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    context.seek(0)
    for event in engine.api.build(
        fileobj=context, custom_context=True, tag=tag, rm=True, forcerm=True, decode=True,
        network_mode="none",
    ):  # fmt: skip
        said.append(event.get("stream", ""))
        if "error" in event:
            missing = "pull access denied" in event["error"] or "not found" in event["error"]
            raise SandboxError(
                "image_missing" if missing else "docker_refused",
                f"{text.splitlines()[0].removeprefix('FROM ')} cannot be made ready:"
                f" {event['error']} {''.join(said)[-800:]}",
                where=engine.host,
                fix="pull or load the instance's image first",
            )


def restore(folder: str) -> str:
    """The command that puts the kept copy into place, owned by whoever runs it."""
    return f"cp -r --preserve=mode,timestamps,links {KEPT}/. {shlex.quote(folder)}/"
