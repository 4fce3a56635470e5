"""The framework's own Dockerfile, built for real: without a registry and without a network."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentrl.sandboxes import ensure_image

ROOT = Path(__file__).parents[2]
LENT = ("pip", "pydantic", "rich", "pyyaml", "numpy", "docker", "tenacity")

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def client():
    import docker

    client = docker.from_env()
    yield client
    client.close()


@pytest.fixture(scope="module")
def image(client, wheel, tmp_path_factory) -> Iterator[str]:
    context: Path = tmp_path_factory.mktemp("context")
    (context / "dist").mkdir()
    shutil.copy(wheel, context / "dist")
    shutil.copy(ROOT / "Dockerfile", context)
    tag = f"agentrl-dockerfile-test:{uuid.uuid4().hex[:12]}"
    client.images.build(
        path=str(context),
        tag=tag,
        buildargs={"BASE": ensure_image(packages=LENT), "PIP_ARGS": "--no-index --no-deps"},
        network_mode="none",
        rm=True,
        forcerm=True,
    )
    yield tag
    client.images.remove(tag, force=True)


def run(client, image: str, *words: str, **options) -> tuple[int, str]:
    container = client.containers.create(image, list(words), network_mode="none", **options)
    try:
        container.start()
        code = container.wait(timeout=120)["StatusCode"]
        return code, container.logs().decode()
    finally:
        container.remove(force=True)


def test_the_entry_point_is_the_command(client, image):
    code, text = run(client, image, "--version")
    assert (code, "0.1.0" in text) == (0, True), text


def test_it_runs_as_a_user_without_rights_over_what_is_installed(client, image):
    script = "id -u; cd /work && touch mine && echo writable; touch /usr/x 2>&- || echo refused"
    code, text = run(client, image, "-c", script, entrypoint="/bin/sh")
    assert code == 0
    assert text.split()[0] == "10001"
    assert "writable" in text
    assert "refused" in text


def test_the_doctor_says_what_the_image_lacks(client, image):
    """The base has no torch and no Docker: the doctor says so, and how to get them."""
    code, text = run(client, image, "doctor")
    assert code == 1, text
    assert "torch" in text
    assert "The core does not work yet." in text
