"""Taking test functions out of a test file, the rest left byte for byte."""

from __future__ import annotations

import ast

from agentrl.environments.swe.functions import FunctionNode, SourceMap, parse


def split_id(test: str) -> tuple[str, str]:
    """A pytest id as (file, qualified function name): parameters are not part of the name.

    >>> split_id("tests/test_a.py::TestB::test_c[1-x]")
    ('tests/test_a.py', 'TestB.test_c')
    """
    path, _, rest = test.partition("::")
    return path, rest.partition("[")[0].replace("::", ".")


def hide_tests(source: bytes, names: set[str]) -> bytes | None:
    """The file without the named test functions; None when one of them is not in it.

    A block that would be left empty gets a `pass`.
    """
    tree = parse(source)
    if tree is None:
        return None
    places = SourceMap(source)
    edits: list[tuple[int, int, bytes]] = []
    found = _hide(tree.body, "", names, places, edits)
    if found != names:
        return None
    for start, end, new in sorted(edits, reverse=True):
        source = source[:start] + new + source[end:]
    return source if parse(source) is not None else None


def _hide(
    body: list[ast.stmt],
    prefix: str,
    names: set[str],
    places: SourceMap,
    edits: list[tuple[int, int, bytes]],
) -> set[str]:
    found: set[str] = set()
    gone: list[FunctionNode] = []
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if prefix + node.name in names:
                found.add(prefix + node.name)
                gone.append(node)
        elif isinstance(node, ast.ClassDef):
            found |= _hide(node.body, f"{prefix}{node.name}.", names, places, edits)
    for node in gone:
        first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
        start, end = places.line_start(first), places.line_start((node.end_lineno or 0) + 1)
        empty = len(gone) == len(body) and node is gone[0]
        edits.append((start, end, b" " * node.col_offset + b"pass\n" if empty else b""))
    return found
