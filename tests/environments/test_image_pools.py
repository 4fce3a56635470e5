"""Pools of several images: few are kept open, none is closed under its users."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from agentrl.core import SandboxError
from agentrl.environments.images import ImagePools
from agentrl.sandboxes import ProcessPool


def made(images: int = 2) -> tuple[ImagePools, list[tuple[str | None, str]], list[tuple[str, ...]]]:
    """Pools of plain processes, with what was opened and what was installed."""
    opened: list[tuple[str | None, str]] = []
    installed: list[tuple[str, ...]] = []

    def make(image: str | None, workdir: str) -> ProcessPool:
        opened.append((image, workdir))
        return ProcessPool(size=1, spare=0)

    def install(requires: Sequence[str], folder: Path) -> None:
        installed.append(tuple(requires))
        (folder / "pins").write_text(" ".join(requires))

    async def build(folder: Path) -> str:
        return "image:" + (folder / "pins").read_text()

    return ImagePools(make, install, build, images=images), opened, installed


async def test_packages_are_installed_once_whatever_their_order():
    pools, opened, installed = made()
    async with pools:
        one = await pools.with_packages(["b==1", "a==2"])
        other = await pools.with_packages(["a==2", "b==1"])
        assert one is other
        assert installed == [("a==2", "b==1")]
        sandbox = await one.acquire()
        await one.release(sandbox)
        assert opened == [("image:a==2 b==1", "/work")]
        usual = await pools.with_packages([])
        sandbox = await usual.acquire()
        await pools.release(sandbox)
        assert opened[-1] == (None, "/work")


async def test_idle_pools_are_closed_and_busy_ones_are_not():
    pools, opened, _ = made(images=2)
    async with pools:
        busy = await pools.of_image("busy")
        held = await busy.acquire()
        for name in ("a", "b", "c"):
            pool = await pools.of_image(name)
            sandbox = await pool.acquire()
            assert (await sandbox.exec("echo hello")).ok
            await pool.release(sandbox)
        assert (await held.exec("echo still here")).output == "still here\n"
        await busy.release(held)
        await pools.of_image("d")
        first = await pools.of_image("a")
        sandbox = await first.acquire()
        await first.release(sandbox)
        assert opened.count(("a", "/work")) == 2, "closed while idle, opened again when asked for"
        assert opened.count(("busy", "/work")) == 1


async def test_a_failed_start_does_not_keep_a_pool_open():
    class Broken:
        async def acquire(self):
            raise SandboxError("docker_down", "no engine")

        async def close(self) -> None:
            pass

    pools = ImagePools(lambda *_: Broken(), lambda *_: None, None)  # type: ignore[arg-type]
    pool = await pools.of_image("x")
    for _ in range(3):
        with pytest.raises(SandboxError):
            await pool.acquire()
    assert pool.lent == 0
    await pools.close()
