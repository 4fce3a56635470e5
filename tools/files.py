"""What the toolboxes share: paths kept inside a repository, and text files of a sandbox."""

from __future__ import annotations

import posixpath

from agentrl.core import Sandbox
from agentrl.tools.definition import ToolError

MAX_BYTES = 2 << 20
# Folders that are never source.
PRUNED = (".git", ".hg", "__pycache__", ".pytest_cache", ".mypy_cache", ".tox", ".venv",
          "node_modules", ".hypothesis")  # fmt: skip


class Repository:
    """A folder of a sandbox, addressed by paths relative to it.

    Keeping tools inside is for clarity (a policy that edits the interpreter is lost), not for
    safety: the sandbox is what isolates.

    Args:
        root: absolute path inside the sandbox.
    """

    def __init__(self, sandbox: Sandbox, root: str) -> None:
        self.sandbox = sandbox
        self.root = posixpath.normpath(posixpath.join(sandbox.workdir, root))

    def relative(self, path: str) -> str:
        """The path as it is shown. Raises ToolError when it is empty or leads outside."""
        path = path.strip()
        if not path or "\0" in path:
            raise ToolError("the path is empty")
        full = posixpath.normpath(posixpath.join(self.root, path))
        inside = posixpath.relpath(full, self.root)
        if inside == ".." or inside.startswith("../"):
            raise ToolError(f"{path} is outside the repository")
        return inside

    def absolute(self, path: str) -> str:
        return posixpath.join(self.root, self.relative(path))

    async def find(self, path: str) -> bytes | None:
        """The content of a file, None when there is no such file."""
        try:
            return await self.sandbox.read(self.absolute(path), max_bytes=MAX_BYTES)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except IsADirectoryError:
            raise ToolError(f"{path} is a folder") from None
        except OSError as error:
            raise ToolError(f"{path} cannot be read: {error.strerror or error}") from None

    async def read(self, path: str) -> str:
        """A text file. Raises ToolError when there is none, or it is not text."""
        data = await self.find(path)
        if data is None:
            raise ToolError(f"no such file: {path}")
        return text_of(data, path)

    async def write(self, path: str, data: bytes) -> None:
        try:
            await self.sandbox.write(self.absolute(path), data)
        except OSError as error:
            raise ToolError(f"{path} cannot be written: {error.strerror or error}") from None


def text_of(data: bytes, path: str) -> str:
    """Bytes that are not UTF-8 survive a round trip through `bytes_of`."""
    if b"\0" in data:
        raise ToolError(f"{path} is not a text file")
    return data.decode("utf-8", "surrogateescape")


def bytes_of(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
