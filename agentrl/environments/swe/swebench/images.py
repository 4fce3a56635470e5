"""An instance's image made ready for a sandbox with a read-only root file system.

The repository lies where its environment expects it (`/testbed`), which in a sandbox is an empty
writable folder: a copy of it is kept in a layer above and put there at the start. The copy's git
history ends at the task's commit: no branch, tag, remote or loose object of the future is in it.
"""

from __future__ import annotations

import shlex

from agentrl.environments.builds import build_image, digest, image_exists
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

    Args:
        bug: a patch that plants the bug, where the set gives one.

    Raises SandboxError: `image_missing` when the instance's image is not there and cannot be
    pulled, `docker_refused` when it cannot be built upon.
    """
    text = _DOCKERFILE.format(
        image=image, folder=shlex.quote(folder), kept=KEPT, commit=shlex.quote(commit or "HEAD")
    )
    if bug:
        text += _PLANTED.format(kept=KEPT)
    tag = f"agentrl/instance:{digest(text, bug)}"
    if not image_exists(engine, tag):
        files = {"Dockerfile": (text.encode(), 0o644), "bug.patch": (bug.encode(), 0o644)}
        build_image(engine, tag, files, where=image)
    return tag


def restore(folder: str) -> str:
    """The command that puts the kept copy into place, owned by whoever runs it."""
    return f"cp -r --preserve=mode,timestamps,links {KEPT}/. {shlex.quote(folder)}/"
