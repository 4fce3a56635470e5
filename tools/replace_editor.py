"""The editor that published scaffolds call `str_replace_editor`: one tool, five commands."""

from __future__ import annotations

import difflib
import re
import shlex
from typing import Literal, TypeVar

from agentrl.core import Sandbox
from agentrl.tools import source
from agentrl.tools.definition import ToolError, tool
from agentrl.tools.files import PRUNED, Repository, bytes_of, text_of

_NUMBERED = re.compile(r"^ *\d+(?:\t|\|)", re.MULTILINE)
T = TypeVar("T")
_CONTEXT = 4
_MAX_ROWS = 400
_MAX_ENTRIES = 200

Command = Literal["view", "create", "str_replace", "insert", "undo_edit"]


class ReplaceEditor:
    """The tool `str_replace_editor` over one repository, with the arguments that SWE-agent and
    OpenHands give it. Rows are numbered as `cat -n` does.

    Args:
        root: the repository's folder inside the sandbox; paths may be relative to it.
    """

    def __init__(self, sandbox: Sandbox, root: str) -> None:
        self.repository = Repository(sandbox, root)
        self._edits: dict[str, list[bytes | None]] = {}

    @tool
    async def str_replace_editor(
        self,
        command: Command,
        path: str,
        file_text: str | None = None,
        old_str: str | None = None,
        new_str: str | None = None,
        insert_line: int | None = None,
        view_range: list[int] | None = None,
    ) -> str:
        """View, create and change text files.

        Args:
            command: `view` shows a file with line numbers or lists a folder; `create` writes a
                new file; `str_replace` replaces a text that is there exactly once; `insert` puts
                lines after a line; `undo_edit` takes the last change of a file back.
            path: the file or folder.
            file_text: for create, the whole content.
            old_str: for str_replace, the text to replace, with its indentation.
            new_str: for str_replace, what to put there; for insert, the lines.
            insert_line: for insert, the line after which to insert; 0 for the beginning.
            view_range: for view, first and last line; -1 is the end.
        """
        path = self.repository.relative(path)
        if command == "view":
            return await self._view(path, view_range)
        if command == "create":
            return await self._create(path, _given(file_text, "file_text", command))
        if command == "str_replace":
            return await self._replace(path, _given(old_str, "old_str", command), new_str or "")
        if command == "insert":
            line, text = insert_line, _given(new_str, "new_str", command)
            return await self._insert(path, _given(line, "insert_line", command), text)
        return await self._undo(path)

    async def _view(self, path: str, view_range: list[int] | None) -> str:
        folder = shlex.quote(self.repository.absolute(path))
        if (await self.repository.sandbox.exec(f"test -d {folder}", timeout=10.0)).ok:
            return await self._list(path)
        text = await self._read(path)
        lines = source.split_lines(text)
        first, last = 1, len(lines)
        if view_range is not None:
            first, last = _range(view_range, len(lines), path)
        shown = _rows(lines, first, min(last, first + _MAX_ROWS - 1))
        if last - first >= _MAX_ROWS:
            shown.append(f"[{last - first + 1 - _MAX_ROWS} more lines; give a view_range]")
        return "\n".join([path, *shown]) if shown else f"{path} is empty"

    async def _list(self, path: str) -> str:
        names = " -o ".join(f"-name {shlex.quote(folder)}" for folder in (*PRUNED, ".*"))
        command = (
            f"find . -mindepth 1 -maxdepth 2 \\( {names} \\) -prune -o -printf '%P\\t%y\\n'"
            " | LC_ALL=C sort"
        )
        result = await self.repository.sandbox.exec(
            command, cwd=self.repository.absolute(path), timeout=20.0, max_output=1 << 16
        )
        rows = [row.rpartition("\t") for row in result.output.splitlines()]
        found = [name + ("/" if kind == "d" else "") for name, _, kind in rows]
        shown = found[:_MAX_ENTRIES]
        if len(found) > len(shown):
            shown.append(f"[{len(found) - len(shown)} more]")
        return "\n".join(shown) or "the folder is empty"

    async def _create(self, path: str, text: str) -> str:
        if await self.repository.find(path) is not None:
            raise ToolError(f"{path} exists; change it with str_replace or insert")
        await self._write(path, None, bytes_of(text))
        return _with_warning(f"created {path}", path, "", text)

    async def _replace(self, path: str, old: str, new: str) -> str:
        text = await self._read(path)
        if not old:
            raise ToolError("old_str is empty; use insert to add lines")
        if old == new:
            raise ToolError("old_str and new_str are the same")
        count = text.count(old)
        if count == 0:
            old, new = _unnumbered(text, old, new)
            count = text.count(old)
        if count == 0:
            raise ToolError(_not_found(path, text, old))
        if count > 1:
            at = [text.count("\n", 0, m.start()) + 1 for m in re.finditer(re.escape(old), text)]
            listed = ", ".join(map(str, at))
            raise ToolError(
                f"old_str is in {path} more than once, at lines {listed}; take in more lines"
            )
        line = text.count("\n", 0, text.index(old)) + 1
        after = text.replace(old, new, 1)
        await self._write(path, bytes_of(text), bytes_of(after))
        return _with_warning(_around(path, after, line, new.count("\n") + 1), path, text, after)

    async def _insert(self, path: str, line: int, new: str) -> str:
        text = await self._read(path)
        lines = source.split_lines(text)
        if not 0 <= line <= len(lines):
            raise ToolError(
                f"insert_line is {line}; {path} has lines 0 (before all) to {len(lines)}"
            )
        added = source.split_lines(new) or [""]
        after = "\n".join([*lines[:line], *added, *lines[line:]]) + "\n"
        await self._write(path, bytes_of(text), bytes_of(after))
        return _with_warning(_around(path, after, line + 1, len(added)), path, text, after)

    async def _undo(self, path: str) -> str:
        history = self._edits.get(path)
        if not history:
            raise ToolError(f"no change of {path} to take back")
        before = history.pop()
        if before is None:
            command = f"rm -f -- {shlex.quote(self.repository.absolute(path))}"
            await self.repository.sandbox.exec(command, timeout=10.0)
            return f"removed {path}, which create had made"
        await self.repository.write(path, before)
        return f"took the last change of {path} back"

    async def _read(self, path: str) -> str:
        """Raises ToolError, with what was probably meant."""
        data = await self.repository.find(path)
        if data is None:
            raise ToolError(await self._missing(path))
        return text_of(data, path)

    async def _missing(self, path: str) -> str:
        result = await self.repository.sandbox.exec(
            "find . -type f -not -path './.git/*' -printf '%P\\n' | head -n 20000",
            cwd=self.repository.root, timeout=20.0,
        )  # fmt: skip
        paths = result.output.splitlines()
        name = path.rsplit("/", 1)[-1]
        same = [found for found in paths if found.rsplit("/", 1)[-1] == name]
        close = same or difflib.get_close_matches(path, paths, n=3, cutoff=0.7)
        return f"no such file: {path}" + (f"; is it {' or '.join(close[:3])}?" if close else "")

    async def _write(self, path: str, before: bytes | None, after: bytes) -> None:
        await self.repository.write(path, after)
        self._edits.setdefault(path, []).append(before)


def _given(value: T | None, name: str, command: str) -> T:
    if value is None:
        raise ToolError(f"{command} needs {name}")
    return value


def _range(view_range: list[int], count: int, path: str) -> tuple[int, int]:
    if len(view_range) != 2:
        raise ToolError("view_range is two numbers: first and last line")
    first, last = view_range
    last = count if last == -1 else min(last, count)
    if not 1 <= first <= max(count, 1) or last < first:
        raise ToolError(f"{path} has {count} lines; view_range {view_range} is not among them")
    return first, last


def _rows(lines: list[str], first: int, last: int) -> list[str]:
    shown = range(max(first, 1), min(last, len(lines)) + 1)
    return [f"{n:6}\t{lines[n - 1]}" for n in shown]


def _around(path: str, text: str, line: int, count: int) -> str:
    """The changed lines with some around them."""
    lines = source.split_lines(text)
    return "\n".join([path, *_rows(lines, line - _CONTEXT, line + count - 1 + _CONTEXT)])


def _with_warning(said: str, path: str, before: str, after: str) -> str:
    problem = source.parse(after) if path.endswith(".py") else ""
    if isinstance(problem, str) and problem and not isinstance(source.parse(before), str):
        return f"{said}\nwarning: no longer parses, {problem}"
    return said


def _unnumbered(text: str, old: str, new: str) -> tuple[str, str]:
    """Without the line numbers that were copied from a view, where that makes the text fit."""
    rows = old.rstrip("\n").split("\n")
    if not all(_NUMBERED.match(row) for row in rows):
        return old, new
    bare = _NUMBERED.sub("", old)
    return (bare, _NUMBERED.sub("", new)) if bare in text else (old, new)


def _not_found(path: str, text: str, old: str) -> str:
    """Why: another indentation, or the line that is most like its first one."""
    lines, wanted = text.split("\n"), old.strip("\n").split("\n")
    bare = [row.strip() for row in wanted]
    for n in range(len(lines) - len(bare) + 1):
        if [row.strip() for row in lines[n : n + len(bare)]] == bare:
            shown = "\n".join(_rows(lines, n + 1, n + len(bare)))
            return f"old_str is in {path} only with other white space, at line {n + 1}:\n{shown}"
    first = next((row for row in bare if row), "")
    close = difflib.get_close_matches(first, [line.strip() for line in lines], n=1, cutoff=0.6)
    if not close:
        return f"old_str is not in {path}; view it first"
    n = next(n for n, line in enumerate(lines) if line.strip() == close[0])
    shown = "\n".join(_rows(lines, n + 1, n + 1))
    return f"old_str is not in {path}; the most similar line is\n{shown}"
