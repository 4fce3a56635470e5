"""Python source as an editor sees it: numbered rows, definitions, tokens of a line.

Lines end where Python says that they end (\\n, \\r\\n), so numbers agree with tracebacks.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""
    [^\W\d]\w*                                     # a name or keyword
  | 0[xXoObB][\da-fA-F_]+                          # a number
  | (?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:[eE][+-]?\d+)?[jJ]?
  | \*\*=|//=|>>=|<<=|\.\.\.                       # an operator, the longest first
  | [!=<>:+\-*/%@&|^]=|->|\*\*|//|<<|>>
  | \s+
  | .
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(slots=True, frozen=True)
class Definition:
    """A function or class: lines `first` (decorators included) to `last`, both from 1."""

    name: str
    is_class: bool
    first: int
    line: int
    last: int
    depth: int

    @property
    def size(self) -> int:
        return self.last - self.first + 1


def split_lines(text: str) -> list[str]:
    """Lines without their ends; the rest of a carriage return stays with its line."""
    lines = text.split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def row(number: int, line: str, width: int = 400) -> str:
    """One line as it is shown: `87|    if a < b:`."""
    line = line.rstrip("\r")
    return f"{number}|{line if len(line) <= width else line[: width - 4] + ' ...'}"


def rows(lines: list[str], first: int, last: int) -> list[str]:
    """Lines `first` to `last` (from 1, both included, cut to what there is)."""
    first = max(first, 1)
    return [row(n, lines[n - 1]) for n in range(first, min(last, len(lines)) + 1)]


def parse(text: str) -> ast.Module | str:
    """The syntax tree, or in one line why there is none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text)
    except SyntaxError as error:
        return f"line {error.lineno}: {error.msg}"
    except (ValueError, RecursionError, MemoryError) as error:
        return str(error) or "nested too deeply"


def definitions(text: str) -> list[Definition]:
    """Functions and classes with dotted names, in order; none when it does not parse."""
    tree = parse(text)
    return [] if isinstance(tree, str) else list(_walk(tree, "", 0))


def _walk(node: ast.AST, prefix: str, depth: int) -> Iterator[Definition]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            first = min([child.lineno, *(d.lineno for d in child.decorator_list)])
            name = prefix + child.name
            is_class = isinstance(child, ast.ClassDef)
            last = child.end_lineno or child.lineno
            yield Definition(name, is_class, first, child.lineno, last, depth)
            yield from _walk(child, f"{name}.", depth + 1)
        elif isinstance(child, ast.stmt | ast.excepthandler | ast.match_case):
            yield from _walk(child, prefix, depth)


def inside_docstrings(text: str) -> set[int]:
    """Lines of docstrings but for the first of each; none when the text does not parse."""
    tree = parse(text)
    if isinstance(tree, str):
        return set()
    found: set[int] = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module):
            continue
        if ast.get_docstring(node, clean=False) is not None:
            first = node.body[0]
            found |= set(range(first.lineno + 1, (first.end_lineno or first.lineno) + 1))
    return found


def around(text: str, line: int, limit: int) -> tuple[int, int]:
    """What to show for a line: the widest function around it that has at most `limit` lines,
    else the class, else a window of lines."""
    holding = [d for d in definitions(text) if d.first <= line <= d.last]
    functions = [d for d in holding if not d.is_class]
    for found in functions or reversed(holding):
        if found.size <= limit:
            return found.first, found.last
    half = limit // 3
    first, last = line - half, line + half
    if holding:
        first, last = max(first, holding[-1].first), min(last, holding[-1].last)
    return first, last


def outline(text: str) -> list[str]:
    """Rows of every class and function at the top level, and of methods."""
    lines = split_lines(text)
    found = definitions(text)
    classes = {d.name for d in found if d.is_class}
    return [
        row(d.line, lines[d.line - 1])
        for d in found
        if d.depth == 0 or d.name.rpartition(".")[0] in classes
    ]


def token_matches(line: str, old: str) -> list[int]:
    """Where `old` stands in a line as whole tokens: `<` is not in `<=`, nor `a` in `ab`."""
    edges = {0, len(line)} | {match.end() for match in _TOKEN.finditer(line)}
    return [at for at in text_matches(line, old) if at in edges and at + len(old) in edges]


def matches(line: str, old: str) -> list[int]:
    """Where `old` is meant: as whole tokens, else anywhere."""
    return token_matches(line, old) or text_matches(line, old)


def text_matches(line: str, old: str) -> list[int]:
    """Every place where `old` stands in a line, overlapping ones too."""
    return [at for at in range(len(line) - len(old) + 1) if line.startswith(old, at)]
