"""Old and too many images go; those in use stay."""

from __future__ import annotations

import io
import os
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentrl.sandboxes import DockerEngine
from agentrl.sandboxes.collect import PREFIX, collect, images, note_use

pytestmark = pytest.mark.docker

SIZE = 1_000_000


class Ours:
    """The engine, as far as it shows the images of this test."""

    def __init__(self, engine: DockerEngine, names: list[str]) -> None:
        self._engine, self._names = engine, names
        self.api = self
        self.checked = engine.checked
        self.containers = engine.api.containers
        self.remove_image = engine.api.remove_image

    def images(self) -> list[dict[str, object]]:
        found = self._engine.api.images()
        return [i for i in found if set(i.get("RepoTags") or []) & set(self._names)]


@pytest.fixture
def four(
    engine: DockerEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Ours, list[str]]]:
    """Images used 40, 30, 2 and 1 days ago, of a megabyte each, made just now."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    names = []
    for days in (40, 30, 2, 1):
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            info = tarfile.TarInfo(f"file-{days}")
            info.size = SIZE
            tar.addfile(info, io.BytesIO(os.urandom(SIZE)))
        name = f"{PREFIX}collect-test:{days}"
        engine.api.import_image_from_data(archive.getvalue(), repository=name)
        note_use(name)
        then = time.time() - days * 86400
        os.utime(tmp_path / "agentrl/images" / f"agentrl_collect-test_{days}", (then, then))
        names.append(name)
    yield Ours(engine, names), names
    for name in names:
        if engine.api.images(name):
            engine.api.remove_image(name, force=True)


def test_by_age_by_size_and_never_those_in_use(four: tuple[Ours, list[str]]) -> None:
    ours, names = four
    engine: DockerEngine = ours  # type: ignore[assignment]
    assert [image.tag for image in images(engine)] == names
    assert collect(engine, days=14, dry_run=True) == names[:2]
    assert len(images(engine)) == 4
    config = {"Image": names[0], "Cmd": ["x"], "HostConfig": {"NetworkMode": "none"}}
    container = ours._engine.api.create_container_from_config(config)["Id"]
    try:
        assert collect(engine, days=14) == [names[1]]
        assert collect(engine, days=14, gigabytes=2.5 * SIZE / 1e9) == [names[2]]
    finally:
        ours._engine.api.remove_container(container)
    assert collect(engine, days=14, gigabytes=1) == [names[0]]
    assert [image.tag for image in images(engine)] == [names[3]]
