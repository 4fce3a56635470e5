"""The classic mutation operators: relational, arithmetic, logical, constants, deletion.

After DeMillo, Lipton and Sayward 1978 and Offutt et al. 1996.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping

from agentrl.environments.swe.functions import SourceMap
from agentrl.environments.swe.synth.operators import Edit, operator

_COMPARISON: dict[type[ast.cmpop], tuple[bytes, bytes]] = {
    ast.Eq: (b"==", b"!="),
    ast.NotEq: (b"!=", b"=="),
    ast.Lt: (b"<", b">"),
    ast.Gt: (b">", b"<"),
    ast.LtE: (b"<=", b">="),
    ast.GtE: (b">=", b"<="),
    ast.In: (b"in", b"not in"),
    ast.NotIn: (rb"not\s+in", b"in"),
    ast.Is: (b"is", b"is not"),
    ast.IsNot: (rb"is\s+not", b"is"),
}
_BOUNDARY: dict[type[ast.cmpop], tuple[bytes, bytes]] = {
    ast.Lt: (b"<", b"<="),
    ast.LtE: (b"<=", b"<"),
    ast.Gt: (b">", b">="),
    ast.GtE: (b">=", b">"),
}
_ARITHMETIC: dict[type[ast.operator], tuple[bytes, bytes]] = {
    ast.Add: (b"+", b"-"),
    ast.Sub: (b"-", b"+"),
    ast.Mult: (b"*", b"//"),
    ast.FloorDiv: (b"//", b"*"),
    ast.Div: (b"/", b"*"),
    ast.Mod: (b"%", b"//"),
    ast.Pow: (b"**", b"*"),
    ast.LShift: (b"<<", b">>"),
    ast.RShift: (b">>", b"<<"),
    ast.BitAnd: (b"&", b"|"),
    ast.BitOr: (b"|", b"&"),
    ast.BitXor: (b"^", b"&"),
}
_SIBLING_CALLS = {
    "min": "max", "max": "min", "any": "all", "all": "any",
    "append": "extend", "lstrip": "rstrip", "rstrip": "lstrip",
    "startswith": "endswith", "endswith": "startswith", "find": "rfind", "rfind": "find",
    "lower": "upper", "upper": "lower", "floor": "ceil", "ceil": "floor",
}  # fmt: skip


@operator
def comparison(node: ast.AST, source: SourceMap) -> Iterator[Edit]:
    """`==` and `!=`, `<` and `>`, `in` and `not in`, `is` and `is not` change places."""
    yield from _swap_compare(node, source, _COMPARISON)


@operator
def boundary(node: ast.AST, source: SourceMap) -> Iterator[Edit]:
    """A comparison gains or loses its equality: `<` and `<=`, `>` and `>=`."""
    yield from _swap_compare(node, source, _BOUNDARY)


@operator
def arithmetic(node: ast.AST, source: SourceMap) -> Iterator[Edit]:
    """An arithmetic or bit operator becomes another, `x += y` included; a minus sign goes."""
    if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC and not _formats_text(node):
        yield from _swap_between(source, node.left, node.right, *_ARITHMETIC[type(node.op)])
    elif isinstance(node, ast.AugAssign) and type(node.op) in _ARITHMETIC:
        old, new = _ARITHMETIC[type(node.op)]
        yield from _swap_between(source, node.target, node.value, old + b"=", new + b"=")
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        start, _ = source.span(node)
        yield Edit(start, start + 1, b"")


@operator
def boolean(node: ast.AST, source: SourceMap) -> Iterator[Edit]:
    """`and` and `or` change places (one of them, where there are several)."""
    if isinstance(node, ast.BoolOp):
        old, new = (b"and", b"or") if isinstance(node.op, ast.And) else (b"or", b"and")
        for left, right in zip(node.values, node.values[1:], strict=False):
            yield from _swap_between(source, left, right, old, new)


@operator
def negation(node: ast.AST, source: SourceMap) -> Iterator[Edit]:
    """A `not` is lost, or a condition is taken the wrong way round."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        start, _ = source.span(node)
        operand, _ = source.span(node.operand)
        if source.source[start + 3 : operand].isspace():
            yield Edit(start, operand, b"")
    elif isinstance(node, ast.If | ast.IfExp) and isinstance(
        node.test, ast.Name | ast.Call | ast.Attribute | ast.Subscript
    ):
        start, _ = source.span(node.test)
        yield Edit(start, start, b"not ")


@operator
def constant(node: ast.AST, source: SourceMap) -> Iterator[Edit]:
    """An integer is off by one (0 and 1 change places), or True and False do."""
    if not isinstance(node, ast.Constant):
        return
    start, end = source.span(node)
    if isinstance(node.value, bool):
        yield Edit(start, end, str(not node.value).encode())
    elif isinstance(node.value, int) and source.source[start:end].isdigit():
        value = node.value
        others = {0: [1], 1: [0, 2]}.get(value, [value - 1, value + 1])
        for other in others:
            yield Edit(start, end, str(other).encode())


@operator
def argument_swap(node: ast.AST, source: SourceMap) -> Iterator[Edit]:
    """Two neighbouring positional arguments of a call change places."""
    if not isinstance(node, ast.Call):
        return
    for left, right in zip(node.args, node.args[1:], strict=False):
        if isinstance(left, ast.Starred) or isinstance(right, ast.Starred):
            continue
        first, second = source.text(left), source.text(right)
        if first != second and b"\n" not in first + second:
            start, left_end = source.span(left)
            right_start, end = source.span(right)
            yield Edit(start, end, second + source.source[left_end:right_start] + first)


@operator
def sibling_call(node: ast.AST, source: SourceMap) -> Iterator[Edit]:
    """`min` for `max`, `any` for `all`, `startswith` for `endswith` and the like."""
    if not isinstance(node, ast.Call):
        return
    _, end = source.span(node.func)
    name = getattr(node.func, "id", None) or getattr(node.func, "attr", "")
    if name in _SIBLING_CALLS and source.source[:end].endswith(name.encode()):
        yield Edit(end - len(name), end, _SIBLING_CALLS[name].encode())


@operator
def deleted_branch(node: ast.AST, source: SourceMap) -> Iterator[Edit]:
    """An `if` without `else` goes, and with it what it guarded against."""
    for statement in _deletable(node):
        if isinstance(statement, ast.If) and not statement.orelse:
            yield from _delete_lines(source, statement)


@operator
def deleted_statement(node: ast.AST, source: SourceMap) -> Iterator[Edit]:
    """An assignment in place, a call for its effect, a `continue` or `break` goes."""
    for statement in _deletable(node):
        effect = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call)
        if effect or isinstance(statement, ast.AugAssign | ast.Continue | ast.Break):
            yield from _delete_lines(source, statement)


@operator
def return_value(node: ast.AST, source: SourceMap) -> Iterator[Edit]:
    """A function returns None in place of what it computed."""
    if isinstance(node, ast.Return) and node.value is not None:
        if isinstance(node.value, ast.Constant) and node.value.value is None:
            return
        start, end = source.span(node.value)
        if b"\n" not in source.source[start:end]:
            yield Edit(start, end, b"None")


def _swap_compare(
    node: ast.AST, source: SourceMap, table: Mapping[type[ast.cmpop], tuple[bytes, bytes]]
) -> Iterator[Edit]:
    if not isinstance(node, ast.Compare):
        return
    left = node.left
    for op, right in zip(node.ops, node.comparators, strict=True):
        if type(op) in table:
            yield from _swap_between(source, left, right, *table[type(op)])
        left = right


def _swap_between(
    source: SourceMap, left: ast.AST, right: ast.AST, old: bytes, new: bytes
) -> Iterator[Edit]:
    """Swap the operator that stands between two operands.

    Between operands there is nothing but the operator, white space, brackets, line
    continuations and comments; comments are blanked so that an operator in one is not found.
    """
    start, end = source.span(left)[1], source.span(right)[0]
    gap = re.sub(rb"#[^\n]*", lambda m: b" " * len(m[0]), source.source[start:end])
    pattern = old if rb"\s" in old else re.escape(old)
    match = re.search(pattern, gap)
    if match:
        yield Edit(start + match.start(), start + match.end(), new)


def _formats_text(node: ast.BinOp) -> bool:
    """True for `"..." % x` and `"..." + x`: there a swapped operator only raises."""
    return any(
        isinstance(side, ast.JoinedStr)
        or (isinstance(side, ast.Constant) and isinstance(side.value, str | bytes))
        for side in (node.left, node.right)
    )


def _deletable(node: ast.AST) -> list[ast.stmt]:
    """Statements of the node's own blocks that are not alone there."""
    found: list[ast.stmt] = []
    for name in ("body", "orelse", "finalbody"):
        block = getattr(node, name, None)
        if isinstance(block, list) and len(block) > 1:
            found.extend(block)
    return found


def _delete_lines(source: SourceMap, statement: ast.stmt) -> Iterator[Edit]:
    """Delete whole lines; a statement that shares its line with another one stays."""
    assert statement.end_lineno is not None
    start = source.line_start(statement.lineno)
    end = source.line_start(statement.end_lineno + 1)
    first, last = source.span(statement)
    before, after = source.source[start:first], source.source[last:end]
    if not before.strip() and not after.split(b"#")[0].strip():
        yield Edit(start, end, b"")
