"""View and change source files, with observations short enough for a small policy."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import Any

from agentrl.core import Sandbox
from agentrl.tools import source
from agentrl.tools.definition import ToolError, tool
from agentrl.tools.files import PRUNED, Repository, bytes_of, text_of

_PATH_AND_LINE = re.compile(r"(.+?):(\d+)(?::.*)?$", re.DOTALL)
_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*$")
_MAX_ROWS = 60
_MAX_CANDIDATES = 8
# Rows of an error that shows again what `old` has to be taken from.
_MAX_REMINDED = 12


@dataclass(slots=True)
class _Edit:
    """One change that can be taken back; `before` is None when the file did not exist."""

    path: str
    before: bytes | None
    after: bytes
    line: int


class Editor:
    """The tools `view`, `edit`, `replace_lines`, `create` and `undo` over one repository.

    `view` makes a file the open file, and the others work on that when no path is given.

    Args:
        root: the repository's folder inside the sandbox.
        start: what `view` shows when it is given no target, such as the function that an issue
            names.
        compact: show a function or class without the insides of its docstrings, and count its
            lines from its own first one: short views and small numbers, which a small policy can
            learn to point with.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        root: str,
        *,
        start: str = "",
        compact: bool = False,
    ) -> None:
        self.repository = Repository(sandbox, root)
        self.open: str | None = None
        self._edits: list[_Edit] = []
        self._start = start
        self._compact = compact
        self._shown: list[int] = []
        self._base = 0

    def remember(self) -> tuple[object, ...]:
        """What it knows beside the files: the open file, what was shown, what can be undone."""
        return self.open, list(self._edits), list(self._shown), self._base

    def recall(self, known: tuple[Any, ...]) -> None:
        """Go on from what another editor remembered."""
        self.open, edits, shown, self._base = known
        self._edits, self._shown = list(edits), list(shown)

    @tool
    async def view(self, target: str = "", line: int | None = None) -> str:
        """Show code with line numbers and open its file.

        Args:
            target: a path, path:line, or the name of a function or class such as Stack.push;
                what the issue names when left out.
            line: show what is around this line.
        """
        target = target.strip() or self._start
        if not target:
            raise ToolError("give a target: a path, or the name of a function or class")
        match = _PATH_AND_LINE.match(target)
        if match and line is None:
            target, line = match[1], int(match[2])
        data = await self.repository.find(target)
        if data is not None:
            return self._show(target, text_of(data, target), line)
        if _NAME.match(target) and line is None:
            return await self._show_definition(target)
        raise ToolError(f"no such file: {target}")

    @tool
    async def edit(
        self, old: str, new: str, line: int | None = None, path: str | None = None
    ) -> str:
        """Replace text in one line; `old` has to be there exactly once, as whole tokens.

        Args:
            old: the text to replace.
            new: what to put there.
            line: number of the line; may be left out when only one shown line has `old`.
            path: the file, if not the open one.
        """
        line = await self._line_with(old, path) if line is None else line
        path, before, lines, line, _ = await self._target(path, line)
        text = lines[line - 1]
        at = _place(text, old, line - self._base)
        if old == new:
            raise ToolError("old and new are the same")
        lines[line - 1] = text[:at] + new + text[at + len(old) :]
        return await self._change(path, before, "\n".join(lines), line, new.count("\n") + 1)

    @tool
    async def replace_lines(self, first: int, last: int, text: str, path: str | None = None) -> str:
        """Replace whole lines; an empty text deletes them.

        Args:
            first: number of the first line to replace.
            last: number of the last one; first - 1 inserts before `first`.
            text: the new lines.
            path: the file, if not the open one.
        """
        path, before, lines, first, last = await self._target(path, first, last)
        new = source.split_lines(text)
        if lines and lines[0].endswith("\r"):
            new = [row.removesuffix("\r") + "\r" for row in new]
        lines[first - 1 : last] = new
        return await self._change(path, before, "\n".join(lines), first, len(new))

    @tool
    async def create(self, path: str, text: str) -> str:
        """Write a new file.

        Args:
            path: where; folders are made.
            text: its whole content.
        """
        path = self.repository.relative(path)
        if await self.repository.find(path) is not None:
            raise ToolError(f"{path} exists; change it with edit or replace_lines")
        return await self._change(path, None, text, 1, len(source.split_lines(text)))

    @tool
    async def undo(self) -> str:
        """Take back the last change."""
        if not self._edits:
            raise ToolError("nothing to undo")
        last = self._edits[-1]
        if await self.repository.find(last.path) != last.after:
            self._edits.pop()
            raise ToolError(f"{last.path} was changed by something else since; cannot undo")
        if last.before is None:
            await self._remove(last.path)
            self._edits.pop()
            return f"removed {last.path}"
        await self.repository.write(last.path, last.before)
        self._edits.pop()
        self.open = last.path
        lines = source.split_lines(text_of(last.before, last.path))
        shown = self._rows(lines, last.line, last.line)
        return "\n".join(shown) or f"restored {last.path}"

    async def _remove(self, path: str) -> None:
        command = f"rm -f -- {shlex.quote(self.repository.absolute(path))}"
        result = await self.repository.sandbox.exec(command, timeout=10.0)
        if not result.ok:
            raise ToolError(f"{path} cannot be removed: {result.output.strip()}")
        if self.open == path:
            self.open = None

    def _show(self, path: str, text: str, line: int | None) -> str:
        path = self.open = self.repository.relative(path)
        self._shown, self._base = [], 0
        lines = source.split_lines(text)
        if not lines:
            return f"{path} is empty"
        if line is not None:
            if not 1 <= line <= len(lines):
                raise ToolError(f"{path} has {len(lines)} lines, no line {line}")
            first, last = source.around(text, line, _MAX_ROWS)
            self._shown = list(range(first, last + 1))
            return "\n".join([path, *source.rows(lines, first, last)])
        if len(lines) <= _MAX_ROWS:
            self._shown = list(range(1, len(lines) + 1))
            return "\n".join([path, *source.rows(lines, 1, len(lines))])
        shown = source.outline(text) if path.endswith(".py") else []
        if not shown:
            shown = source.rows(lines, 1, _MAX_ROWS)
        return "\n".join([f"{path} ({len(lines)} lines)", *shown])

    async def _show_definition(self, name: str) -> str:
        found = await self._definitions(name)
        code = [item for item in found if not _is_test(item[0])]
        found = code or found
        if not found:
            raise ToolError(f"no file, function or class is called {name}")
        if len(found) > 1:
            listed = [f"{path}:{d.line}: {d.name}" for path, _, d in found[:_MAX_CANDIDATES]]
            more = len(found) - len(listed)
            return "\n".join(
                [f"{len(found)} definitions", *listed, *([f"[{more} more]"] * (more > 0))]
            )
        path, text, definition = found[0]
        self.open = path
        lines = source.split_lines(text)
        self._shown = list(range(definition.first, definition.last + 1))
        self._base = definition.first - 1 if self._compact else 0
        if self._compact:
            inside = source.inside_docstrings(text)
            self._shown = [n for n in self._shown if n not in inside]
        shown = [source.row(n - self._base, lines[n - 1]) for n in self._shown]
        if len(shown) > _MAX_ROWS:
            cut = len(shown) - _MAX_ROWS
            after = definition.first + _MAX_ROWS
            shown = [*shown[:_MAX_ROWS], f"[{cut} more lines, from {after - self._base}]"]
        return "\n".join([path, *shown])

    async def _definitions(self, name: str) -> list[tuple[str, str, source.Definition]]:
        """Every definition whose dotted name (module and all) ends with `name`."""
        wanted = name.split(".")
        prune = " ".join(f"--exclude-dir={folder}" for folder in PRUNED)
        pattern = rf"^[[:space:]]*(async[[:space:]]+)?(def|class)[[:space:]]+{wanted[-1]}\b"
        command = f"grep -rlIE {prune} --include='*.py' -e {shlex.quote(pattern)} . | LC_ALL=C sort"
        result = await self.repository.sandbox.exec(
            command, cwd=self.repository.root, timeout=20.0, max_output=1 << 16
        )
        found = []
        for path in result.output.splitlines():
            path = path.removeprefix("./")
            data = await self.repository.find(path)
            if data is None or b"\0" in data:
                continue
            text = text_of(data, path)
            module = path.removesuffix(".py").removesuffix("/__init__").split("/")
            for definition in source.definitions(text):
                if [*module, *definition.name.split(".")][-len(wanted) :] == wanted:
                    found.append((path, text, definition))
        return found

    async def _target(
        self, path: str | None, first: int, last: int | None = None
    ) -> tuple[str, bytes, list[str], int, int]:
        """The file to change, its bytes, its lines, and the lines named, counted in the file."""
        if path is None and self.open is None:
            raise ToolError("no file is open; view one first, or give a path")
        if path is not None and self.repository.relative(path) != self.open:
            self._base = 0
        path = self.repository.relative(path or self.open or "")
        text = await self.repository.read(path)
        lines = text.split("\n")
        count, base = len(source.split_lines(text)), self._base
        if not 1 <= first + base <= (count if last is None else count + 1):
            raise ToolError(f"{path} has {count} lines, no line {first + base}")
        if last is not None and not first - 1 <= last <= count - base:
            raise ToolError(f"last is {last}; from {first} it can be {first - 1} to {count - base}")
        return path, bytes_of(text), lines, first + base, (last or 0) + base

    async def _line_with(self, old: str, path: str | None) -> int:
        """The one shown line that has `old`, as the policy counts lines."""
        if path is not None or self.open is None or not self._shown:
            raise ToolError("give the line; it can be left out only for what view has shown")
        if not old:
            raise ToolError("old is empty")
        lines = source.split_lines(await self.repository.read(self.open))
        shown = [n for n in self._shown if n <= len(lines)]
        found = [n for n in shown if source.token_matches(lines[n - 1], old)]
        found = found or [n for n in shown if source.matches(lines[n - 1], old)]
        if not found:
            raise ToolError(self._reminding(f"{old!r} is not in the lines shown", lines, shown))
        if len(found) > 1:
            # A line that has it twice would only lead to the next error.
            once = [n for n in found if len(source.matches(lines[n - 1], old)) == 1]
            listed = ", ".join(str(n - self._base) for n in once or found)
            what = f"{old!r} is {'once ' if once else ''}on lines {listed}: give the line"
            raise ToolError(self._reminding(what, lines, once or found))
        return found[0] - self._base

    def _reminding(self, what: str, lines: list[str], numbers: list[int]) -> str:
        """An error with the rows it is about: who reads them again need not remember them."""
        rows = [source.row(n - self._base, lines[n - 1]) for n in numbers[:_MAX_REMINDED]]
        return "\n".join([what, *rows])

    def _rows(self, lines: list[str], first: int, last: int) -> list[str]:
        """Rows of a file, numbered as the policy counts lines."""
        shown = range(max(first, 1), min(last, len(lines)) + 1)
        return [source.row(n - self._base, lines[n - 1]) for n in shown]

    async def _change(
        self, path: str, before: bytes | None, text: str, line: int, count: int
    ) -> str:
        """Write, remember for undo, and show the changed lines."""
        after = bytes_of(text)
        await self.repository.write(path, after)
        self._edits.append(_Edit(path, before, after, line))
        self.open = path
        shown = self._rows(source.split_lines(text), line, line + count - 1)
        if len(shown) > _MAX_ROWS:
            shown = [*shown[:_MAX_ROWS], f"[{len(shown) - _MAX_ROWS} more lines]"]
        if not shown:
            shown = [f"deleted in {path}"]
        if path.endswith(".py"):
            problem = source.parse(text)
            was_fine = before is None or not isinstance(source.parse(text_of(before, path)), str)
            if isinstance(problem, str) and was_fine:
                shown.append(f"warning: no longer parses, {problem}")
        return "\n".join(shown)


def _place(text: str, old: str, line: int) -> int:
    """Where `old` is meant: its one match as whole tokens, else its one match at all."""
    if not old:
        raise ToolError("old is empty")
    found = source.matches(text, old)
    if len(found) == 1:
        return found[0]
    times = f"{len(found)} times" if found else "not"
    raise ToolError(f"{old!r} is {times} in line {line}\n{source.row(line, text)}")


def _is_test(path: str) -> bool:
    name = path.rsplit("/", 1)[-1]
    return name.startswith("test_") or name.endswith("_test.py") or name == "conftest.py"
