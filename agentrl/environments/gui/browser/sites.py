"""Folders of static files, served to the browser under made-up names."""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from aiohttp import web

from agentrl.core import ConfigError

_NAME = re.compile(r"[a-z0-9-]+")


class Sites:
    """One loopback server for all of them; `http://NAME.test/` is the folder NAME.

    The browser maps the names to the server's port, so that no address depends on the machine.

    Args:
        folders: by name.
    """

    def __init__(self, folders: Mapping[str, Path]) -> None:
        for name, folder in folders.items():
            if not _NAME.fullmatch(name):
                raise ConfigError(
                    f"a site cannot be called {name!r}", fix="use small letters, digits and -"
                )
            if not folder.is_dir():
                raise ConfigError(f"the site {name!r} is no folder: {folder}")
        self._folders = {name: folder.resolve() for name, folder in folders.items()}
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def start(self) -> None:
        """Idempotent."""
        if self._runner is not None or not self._folders:
            return
        app = web.Application()
        app.router.add_get("/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def close(self) -> None:
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    @property
    def rules(self) -> list[str]:
        """For Chromium's --host-resolver-rules."""
        return [f"MAP {name}.test 127.0.0.1:{self.port}" for name in self._folders]

    @property
    def origins(self) -> set[str]:
        return {f"http://{name}.test" for name in self._folders}

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        folder = self._folders.get(request.host.removesuffix(".test"))
        if folder is None:
            raise web.HTTPNotFound
        path = (folder / request.match_info["path"]).resolve()
        if path.is_dir():
            path = path / "index.html"
        if not path.is_relative_to(folder) or not path.is_file():
            raise web.HTTPNotFound
        answer = web.FileResponse(path, headers={"Cache-Control": "no-cache"})
        kind = mimetypes.guess_type(path.name)[0] or ""
        if kind.startswith("text/") or kind.endswith(("javascript", "json", "+xml")):
            # Without it Chromium takes a page that does not say for windows-1252.
            answer.headers["Content-Type"] = f"{kind}; charset=utf-8"
        return answer


def folder_of(place: str, relative_to: Path | None = None) -> Path:
    """A folder by its path, or `package.module:folder` for one inside an installed package."""
    module, colon, inside = place.partition(":")
    if not colon:
        return (relative_to or Path()) / place
    try:
        return Path(str(files(module))) / inside
    except ModuleNotFoundError as error:
        raise ConfigError(f"cannot find the package of the site {place!r}: {error}") from error
