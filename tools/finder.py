"""List and search the files of a repository, always in the same order."""

from __future__ import annotations

import fnmatch
import shlex

from agentrl.core import Sandbox
from agentrl.tools.definition import ToolError, tool
from agentrl.tools.files import PRUNED, Repository
from agentrl.tools.wording import clip_line

_SECONDS = 30.0
_MAX_OUTPUT = 1 << 18
_WIDTH = 200


class Finder:
    """The tools `list_files` and `search` over one repository.

    Args:
        root: the repository's folder inside the sandbox.
        max_rows: rows of one answer; a mark tells how many were left out.
    """

    def __init__(self, sandbox: Sandbox, root: str, *, max_rows: int = 40) -> None:
        self.repository = Repository(sandbox, root)
        self.max_rows = max_rows

    @tool(concurrent=True, timeout=60.0)
    async def list_files(self, pattern: str = "") -> str:
        """List the repository's files.

        Args:
            pattern: a part of the path, or a pattern such as *.py; empty for all.
        """
        paths, whole = await self._lines(_find("-print") + " | LC_ALL=C sort")
        if any(c in pattern for c in "*?["):
            name = (lambda p: p) if "/" in pattern else (lambda p: p.rsplit("/", 1)[-1])
            paths = [p for p in paths if fnmatch.fnmatchcase(name(p), pattern)]
        else:
            paths = [p for p in paths if pattern in p]
        return self._shown(paths, whole) or "no such file"

    @tool(concurrent=True, timeout=60.0)
    async def search(self, text: str) -> str:
        """Find a text in the repository's files.

        Args:
            text: what to look for, exactly as written.
        """
        if not text.strip() or "\n" in text or "\0" in text:
            raise ToolError("give a text of one line")
        files = _find("-print0") + " | LC_ALL=C sort -z"
        grep = f"xargs -0 -r grep -nHFI -e {shlex.quote(text)} --"
        lines, whole = await self._lines(f"{files} | {grep}")
        return self._shown([_hit(line) for line in lines], whole) or "not found"

    async def _lines(self, command: str) -> tuple[list[str], bool]:
        """Output lines that start with a path below the root, and whether these are all."""
        result = await self.repository.sandbox.exec(
            command, cwd=self.repository.root, timeout=_SECONDS, max_output=_MAX_OUTPUT
        )
        if result.timed_out:
            raise ToolError(f"stopped after {_SECONDS:g} s")
        lines = result.output.split("\n")
        # The last one is empty, or cut in the middle; complaints do not start with a path.
        found = [line.removeprefix("./") for line in lines[:-1] if line.startswith("./")]
        return found, not result.truncated

    def _shown(self, rows: list[str], whole: bool) -> str:
        more = len(rows) - self.max_rows
        shown = rows[: self.max_rows]
        if more > 0:
            shown.append(f"[{'' if whole else 'at least '}{more} more]")
        return "\n".join(shown)


def _find(action: str) -> str:
    names = " -o ".join(f"-name {shlex.quote(folder)}" for folder in PRUNED)
    return f"find . \\( -type d \\( {names} \\) -prune \\) -o \\( -type f {action} \\)"


def _hit(line: str) -> str:
    """`a.py:3:  text` becomes `a.py:3: text`."""
    path, _, rest = line.partition(":")
    number, _, text = rest.partition(":")
    return clip_line(f"{path}:{number}: {text.strip()}", _WIDTH)
