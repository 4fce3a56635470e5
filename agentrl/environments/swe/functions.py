"""Where the functions of a Python file are, in bytes, so that an edit touches nothing else."""

from __future__ import annotations

import ast
from dataclasses import dataclass


class SourceMap:
    """Turns the (line, UTF-8 column) positions of `ast` into byte offsets of the file."""

    def __init__(self, source: bytes) -> None:
        self.source = source
        self._starts = [0]
        for line in source.split(b"\n")[:-1]:
            self._starts.append(self._starts[-1] + len(line) + 1)

    def offset(self, line: int, column: int) -> int:
        return self._starts[line - 1] + column

    def span(self, node: ast.AST) -> tuple[int, int]:
        """First byte of a statement or expression, and the byte after its last."""
        assert isinstance(node, ast.stmt | ast.expr)
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        start = self.offset(node.lineno, node.col_offset)
        return start, self.offset(node.end_lineno, node.end_col_offset)

    def text(self, node: ast.AST) -> bytes:
        start, end = self.span(node)
        return self.source[start:end]

    def line_of(self, offset: int) -> int:
        """The 1-based line that holds a byte."""
        return self.source.count(b"\n", 0, offset) + 1

    def line_start(self, line: int) -> int:
        """First byte of a line; the end of the file for the line after the last."""
        return self._starts[line - 1] if line <= len(self._starts) else len(self.source)


FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(slots=True, frozen=True)
class Function:
    """A function or method of a file; functions nested in it count as part of it.

    Attributes:
        path: of the file, relative to the repository.
        name: qualified name inside the module ("Class.method").
        first_line: of its first decorator or `def`; last_line: of its body. 1-based.
    """

    path: str
    name: str
    first_line: int
    last_line: int
    node: FunctionNode

    @property
    def id(self) -> str:
        return f"{self.path}::{self.name}"

    @property
    def lines(self) -> int:
        return self.last_line - self.first_line + 1

    @property
    def code_lines(self) -> int:
        """Lines without decorators and docstring: what an agent has to look at."""
        body = self.body
        return 0 if not body else self.last_line - body[0].lineno + 1

    @property
    def body(self) -> list[ast.stmt]:
        """Its statements without the docstring."""
        return without_docstring(self.node.body)


def without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    first = body[0] if body else None
    is_text = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    if is_text and isinstance(first.value.value, str):  # type: ignore[union-attr]
        return body[1:]
    return body


def parse(source: bytes) -> ast.Module | None:
    """The syntax tree, or None when the file is not UTF-8 Python with ordinary line ends."""
    if b"\r" in source.replace(b"\r\n", b"\n") or b"\f" in source:
        return None
    try:
        source.decode("utf-8")
        return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return None


def functions_of(path: str, source: bytes) -> list[Function]:
    """Every function and method of a file in order of appearance."""
    tree = parse(source)
    if tree is None or source.startswith(b"\xef\xbb\xbf"):
        return []
    found: list[Function] = []
    _collect(tree.body, path, "", found)
    return found


def _collect(body: list[ast.stmt], path: str, prefix: str, found: list[Function]) -> None:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            name = prefix + node.name
            found.append(Function(path, name, first, node.end_lineno or node.lineno, node))
        elif isinstance(node, ast.ClassDef):
            _collect(node.body, path, f"{prefix}{node.name}.", found)
        elif isinstance(node, ast.If | ast.Try):
            for part in (node.body, node.orelse, getattr(node, "finalbody", [])):
                _collect(part, path, prefix, found)
