"""The socket past the engine's relays: taken where it can be, closed to agents, not needed."""

from __future__ import annotations

import asyncio
import glob
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentrl.sandboxes import DockerEngine, DockerSandbox, Hive
from agentrl.sandboxes.base import SupervisedSandbox
from agentrl.sandboxes.channel import Channel
from agentrl.sandboxes.door import INSIDE, Door

pytestmark = pytest.mark.docker

ATTACK = f"""
import os, socket
try: print(os.listdir({INSIDE!r}))
except OSError as error: print(type(error).__name__)
for path in ("{INSIDE}/socket", "{INSIDE}/other"):
    with socket.socket(socket.AF_UNIX) as one:
        try: one.connect(path); print("connected")
        except OSError as error: print(type(error).__name__)
    try: open(path, "w"); print("written")
    except OSError as error: print(type(error).__name__)
"""


@pytest.fixture(autouse=True)
def doors_of_this_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Doors stand in a folder of their own, as other test processes open some too; its path is
    short, as that of a socket has to be."""
    tmp_path_factory.getbasetemp()  # chosen now, else it would be in that folder too
    with tempfile.TemporaryDirectory(prefix="doors-") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield


def is_direct(sandbox: SupervisedSandbox) -> bool:
    return sandbox._channel._replaced is not None


def folders() -> list[str]:
    return glob.glob(f"{tempfile.gettempdir()}/agentrl-door-*")


async def attacked(sandbox: SupervisedSandbox) -> list[str]:
    await sandbox.write("/tmp/attack.py", ATTACK)
    return (await sandbox.exec("python3 -S /tmp/attack.py")).output.split("\n")


async def test_a_container_takes_it_and_finds_nothing_behind_it(
    engine: DockerEngine, image: str
) -> None:
    before = folders()
    sandbox = await DockerSandbox.create(engine, image)
    try:
        assert is_direct(sandbox)
        assert folders() == before, "closed once it is through"
        said = await attacked(sandbox)
        assert said[0] == "[]"
        assert "connected" not in said
        assert "written" not in said
        await sandbox.reset()
        await asyncio.sleep(0.5)
        assert not sandbox._channel._replaced.is_closing(), "what tells of a lost engine"
        assert (await sandbox.exec("echo still")).output == "still\n"
    finally:
        await sandbox.close()


async def test_a_cell_takes_it_and_cannot_reach_the_one_of_its_hive(
    engine: DockerEngine, image: str
) -> None:
    before = folders()
    hive = await Hive.create(engine, image)
    try:
        one, other = await hive.cell(), await hive.cell()
        assert is_direct(one)
        assert is_direct(other)
        said = await attacked(one)
        assert said[:5] == ["PermissionError"] * 5, said
        await one.close()
        assert (await other.exec("echo still")).output == "still\n"
    finally:
        await hive.close()
    assert folders() == before


@pytest.mark.parametrize("why", ["another machine's folder", "another file system", "far away"])
async def test_without_it_the_attached_stream_serves(
    engine: DockerEngine, image: str, why: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    source = tmp_path / "missing" if why == "another machine's folder" else tmp_path
    mount = {"Type": "bind", "Source": str(source), "Target": INSIDE, "ReadOnly": True}
    monkeypatch.setattr(Door, "mount", property(lambda _: mount))
    monkeypatch.setattr(engine, "near", why != "far away")
    sandbox = await DockerSandbox.create(engine, image)
    hive = await Hive.create(engine, image)
    try:
        cell = await hive.cell()
        for each in (sandbox, cell):
            assert not is_direct(each)
            assert (await each.exec("echo hi")).output == "hi\n"
        # What is refused once is not asked for again.
        assert engine.near == (why == "another file system")
    finally:
        await sandbox.close()
        await hive.close()


async def test_only_who_says_the_word_is_let_in() -> None:
    door = await Door.open()
    assert door is not None
    channel = Channel("here")
    door.expect(channel)
    reader, writer = await asyncio.open_unix_connection(str(door.folder / "socket"))
    writer.write(b"0" * 32)
    assert await reader.read() == b""
    writer.close()
    assert channel._transport is None
    assert (door.folder.parent.stat().st_mode & 0o777) == 0o700
    await door.close()
