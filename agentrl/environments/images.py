"""Sandboxes of several images: each task may need packages that the usual image lacks."""

from __future__ import annotations

import asyncio
import tempfile
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from agentrl.core import ConfigError, Sandbox, SandboxProvider
from agentrl.environments.wheels import install_pins

if TYPE_CHECKING:
    from agentrl.sandboxes import Limits


@runtime_checkable
class ImageProvider(Protocol):
    """A provider that can also lend sandboxes with further packages, or of a named image."""

    async def with_packages(self, requires: Sequence[str]) -> SandboxProvider: ...

    async def of_image(self, image: str, workdir: str = "/work") -> SandboxProvider: ...


async def provider_for(provider: SandboxProvider, requires: Sequence[str]) -> SandboxProvider:
    """Who lends the sandboxes of a task that needs these pinned packages.

    Raises ConfigError when the provider has only sandboxes of one kind.
    """
    if not requires:
        return provider
    if not isinstance(provider, ImageProvider):
        raise ConfigError(
            f"the task needs packages in its sandbox: {', '.join(requires[:5])}",
            where=type(provider).__name__,
            fix="give an agentrl.environments.images.ImagePools as provider",
        )
    return await provider.with_packages(requires)


class ImagePools:
    """Implements `SandboxProvider` and `ImageProvider`: one pool an image, the idle ones closed.

    At most `images` pools are kept; the one used least lately is closed first, when none of its
    sandboxes is in use.
    """

    def __init__(
        self,
        make: Callable[[str | None, str], SandboxProvider],
        install: Callable[[Sequence[str], Path], None],
        build: Callable[[Path], Awaitable[str]],
        *,
        images: int = 4,
    ) -> None:
        """
        Args:
            make: a pool of an image (None: the usual one) with a working directory.
            install: puts pinned packages into a folder.
            build: the tag of the image that has the folder's packages beside the usual ones.
        """
        self._make = make
        self._install = install
        self._build = build
        self._images = images
        self._pools: OrderedDict[tuple[str | None, str], _Lent] = OrderedDict()
        self._tags: dict[tuple[str, ...], str] = {}
        self._lock = asyncio.Lock()
        self._usual = self._pool(None, "/work")

    async def __aenter__(self) -> ImagePools:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def acquire(self) -> Sandbox:
        return await self._usual.acquire()

    async def fresh(self) -> Sandbox:
        return await self._usual.fresh()

    async def release(self, sandbox: Sandbox) -> None:
        await self._usual.release(sandbox)

    async def warm(self, count: int) -> None:
        """Have `count` unused sandboxes of the usual image ready."""
        await self._usual.warm(count)

    async def with_packages(self, requires: Sequence[str]) -> SandboxProvider:
        """The pool of the image with these pins, which is made when it is missing."""
        key = tuple(sorted(requires))
        if not key:
            return self._usual
        async with self._lock:
            if key not in self._tags:
                with tempfile.TemporaryDirectory(prefix="agentrl-image-") as scratch:
                    await asyncio.to_thread(self._install, key, Path(scratch))
                    self._tags[key] = await self._build(Path(scratch))
        return await self.of_image(self._tags[key])

    async def of_image(self, image: str, workdir: str = "/work") -> SandboxProvider:
        async with self._lock:
            pool = self._pool(image, workdir)
            others = [p for p in self._pools.values() if p.open and p not in (pool, self._usual)]
            idle = [other for other in others if not other.lent]
            for other in idle[: max(0, len(others) + 1 - self._images)]:
                await other.close()
        return pool

    async def close(self) -> None:
        await asyncio.gather(*(pool.close() for pool in self._pools.values()))

    @property
    def image(self) -> str | None:
        """The usual image, None before it is first used."""
        return self._usual.image

    def _pool(self, image: str | None, workdir: str) -> _Lent:
        key = (image, workdir)
        if key not in self._pools:
            self._pools[key] = _Lent(lambda: self._make(image, workdir))
        self._pools.move_to_end(key)
        return self._pools[key]


class _Lent:
    """A pool made on first use, that counts what is out so as not to be closed under its users."""

    def __init__(self, make: Callable[[], SandboxProvider]) -> None:
        self._make = make
        self._pool: SandboxProvider | None = None
        self.lent = 0

    @property
    def open(self) -> bool:
        return self._pool is not None

    @property
    def image(self) -> str | None:
        return getattr(self._pool, "image", None)

    async def warm(self, count: int) -> None:
        pool: Any = self._opened()
        await pool.warm(count)

    async def acquire(self) -> Sandbox:
        self.lent += 1
        try:
            return await self._opened().acquire()
        except BaseException:
            self.lent -= 1
            raise

    async def fresh(self) -> Sandbox:
        self.lent += 1
        try:
            return await self._opened().fresh()
        except BaseException:
            self.lent -= 1
            raise

    async def release(self, sandbox: Sandbox) -> None:
        self.lent = max(0, self.lent - 1)
        await self._opened().release(sandbox)

    async def close(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close()

    def _opened(self) -> SandboxProvider:
        if self._pool is None:
            self._pool = self._make()
        return self._pool


def docker_images(
    image: str | None = None,
    *,
    size: int = 8,
    spare: int = 1,
    limits: Limits | None = None,
    images: int = 4,
    on_change: Callable[[int], None] | None = None,
) -> ImagePools:
    """Pools of containers. Each image's pool lends at most `size`, see `DockerPool`.

    `on_change` is told how many sandboxes of all images are in use.
    """
    from agentrl.sandboxes import DockerPool, ensure_image

    in_use: dict[tuple[str | None, str], int] = {}

    def make(tag: str | None, workdir: str) -> SandboxProvider:
        chosen = tag if tag is not None else image
        pool = DockerPool(chosen, limits=limits, workdir=workdir, size=size, spare=spare)

        def changed(count: int) -> None:
            in_use[tag, workdir] = count
            if on_change is not None:
                on_change(sum(in_use.values()))

        pool.on_change = changed
        return pool

    async def build(site: Path) -> str:
        return await asyncio.to_thread(ensure_image, "task", extra_site=site)

    return ImagePools(make, install_pins, build, images=images)
