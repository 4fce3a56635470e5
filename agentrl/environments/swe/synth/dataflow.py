"""Mutation operators on what flows where: operands, calls, slices, branches, texts, exceptions.

The kinds of mistakes that people make when they write code anew, beside the classic ones: a value
that is not passed on, taken from the wrong side, or not worked on.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from agentrl.environments.swe.functions import SourceMap
from agentrl.environments.swe.synth.operators import Edit, operator

_ORDERED = (ast.Sub, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow, ast.LShift, ast.RShift)
_EXCEPTIONS = {
    "KeyError": "IndexError", "IndexError": "KeyError", "ValueError": "TypeError",
    "TypeError": "ValueError", "AttributeError": "KeyError", "OSError": "ValueError",
    "StopIteration": "IndexError", "ZeroDivisionError": "ValueError",
}  # fmt: skip


@operator
def operand_swap(node: ast.AST, source: SourceMap) -> Iterator[Edit]:
    """The operands of an operator that is not commutative change places."""
    if not isinstance(node, ast.BinOp) or not isinstance(node.op, _ORDERED):
        return
    if isinstance(node.left, ast.Constant) and isinstance(node.left.value, str | bytes):
        return
    left, right = source.text(node.left), source.text(node.right)
    if left != right and b"\n" not in left + right:
        start, left_end = source.span(node.left)
        right_start, end = source.span(node.right)
        yield Edit(start, end, right + source.source[left_end:right_start] + left)


@operator
def lost_operand(node: ast.AST, source: SourceMap) -> Iterator[Edit]:
    """Of two operands (or conditions) only one is left."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub | ast.Mult):
        sides: list[ast.expr] = [node.left, node.right]
    elif isinstance(node, ast.BoolOp) and len(node.values) == 2:
        sides = node.values
    else:
        return
    start, end = source.span(node)
    for side in sides:
        kept = source.text(side)
        if b"\n" not in kept:
            yield Edit(start, end, kept)


@operator
def slice_bound(node: ast.AST, source: SourceMap) -> Iterator[Edit]:
    """A slice loses its lower or its upper bound."""
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Slice):
        for bound in (node.slice.lower, node.slice.upper):
            if bound is not None:
                start, end = source.span(bound)
                yield Edit(start, end, b"")


@operator
def dropped_keyword(node: ast.AST, source: SourceMap) -> Iterator[Edit]:
    """A keyword argument of a call is not passed."""
    if not isinstance(node, ast.Call):
        return
    given: list[ast.expr] = [*node.args, *(k.value for k in node.keywords)]
    for keyword in node.keywords:
        if keyword.arg is None or len(given) < 2:
            continue
        before = [g for g in given if source.span(g)[1] <= source.span(keyword.value)[0]]
        if before:
            start = max(source.span(g)[1] for g in before)
            end = source.span(keyword.value)[1]
            if b"#" not in source.source[start:end]:
                yield Edit(start, end, b"")


@operator
def lost_call(node: ast.AST, source: SourceMap) -> Iterator[Edit]:
    """What a call would have worked on is taken as it is: `sorted(x)`, `x.strip()` become `x`."""
    if not isinstance(node, ast.Call) or node.keywords or not source.span(node):
        return
    start, end = source.span(node)
    if isinstance(node.func, ast.Name) and len(node.args) == 1:
        kept: ast.expr = node.args[0]
    elif isinstance(node.func, ast.Attribute) and not node.args:
        kept = node.func.value
    else:
        return
    text = source.text(kept)
    if not isinstance(kept, ast.Starred | ast.GeneratorExp) and b"\n" not in text:
        yield Edit(start, end, text)


@operator
def swapped_branches(node: ast.AST, source: SourceMap) -> Iterator[Edit]:
    """`a if c else b` gives `b` where it gave `a`."""
    if not isinstance(node, ast.IfExp):
        return
    first, second = source.text(node.body), source.text(node.orelse)
    if first != second and b"\n" not in first + second:
        start, body_end = source.span(node.body)
        other_start, end = source.span(node.orelse)
        yield Edit(start, end, second + source.source[body_end:other_start] + first)


@operator
def wrong_exception(node: ast.AST, source: SourceMap) -> Iterator[Edit]:
    """Another exception is raised, or caught."""
    named: ast.expr | None = None
    if isinstance(node, ast.Raise):
        named = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
    elif isinstance(node, ast.ExceptHandler):
        named = node.type
    if isinstance(named, ast.Name) and named.id in _EXCEPTIONS:
        start, end = source.span(named)
        yield Edit(start, end, _EXCEPTIONS[named.id].encode())


@operator
def text_constant(node: ast.AST, source: SourceMap) -> Iterator[Edit]:
    """A text loses its last character."""
    if not isinstance(node, ast.Constant) or not isinstance(node.value, str) or not node.value:
        return
    start, end = source.span(node)
    text = source.source[start:end]
    if text[:1] in (b"'", b'"') and text[1:-1] == node.value.encode() and node.value.isprintable():
        yield Edit(end - 1 - len(node.value[-1].encode()), end - 1, b"")
