"""Every small edit of one function that an operator proposes."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from agentrl.environments.swe.functions import Function, SourceMap, parse
from agentrl.environments.swe.synth import classic, dataflow
from agentrl.environments.swe.synth.operators import OPERATORS, Edit

__all__ = ["OPERATORS", "Mutation", "classic", "dataflow", "mutations_of"]


@dataclass(slots=True, frozen=True)
class Mutation:
    """One bug: an operator applied at one place of one function.

    Attributes:
        line: 1-based line of the edit; old, new: the text that changes there.
    """

    operator: str
    function: Function
    line: int
    old: str
    new: str
    edit: Edit


def mutations_of(
    function: Function, source: bytes, operators: list[str] | None = None
) -> list[Mutation]:
    """Every mutation of one function that parses, in order of place, without duplicates."""
    places = SourceMap(source)
    found: dict[bytes, Mutation] = {}
    for node in _mutable_nodes(function):
        for name in operators if operators is not None else OPERATORS:
            for edit in OPERATORS[name](node, places):
                mutated = edit.apply(source)
                if mutated in found or mutated == source:
                    continue
                longer = len(mutated) - len(source)
                if _parses(function, places, mutated, longer):
                    found[mutated] = _mutation(name, function, edit, places)
    return sorted(found.values(), key=lambda m: (m.edit.start, m.operator, m.edit.new))


def _parses(function: Function, places: SourceMap, source: bytes, longer: int) -> bool:
    """Whether the function's lines of an edited file parse; the whole file would take long."""
    start = places.line_start(function.first_line)
    end = places.line_start(function.last_line + 1) + longer
    indented = source[start : start + 1] in (b" ", b"\t")
    return parse((b"if 1:\n" if indented else b"") + source[start:end]) is not None


def _mutation(name: str, function: Function, edit: Edit, places: SourceMap) -> Mutation:
    old = places.source[edit.start : edit.end].decode()
    line = places.line_of(edit.start)
    return Mutation(name, function, line, old, edit.new.decode(), edit)


def _mutable_nodes(function: Function) -> Iterator[ast.AST]:
    """The function itself and every node of its body that runs.

    Left out: nested decorators, defaults and annotations (they run at import or never), assert
    statements, and the inside of f-strings (Python 3.11 gives those wrong positions).
    """
    yield function.node
    stack: list[ast.AST] = list(reversed(function.body))
    while stack:
        node = stack.pop()
        yield node
        children: list[ast.AST] = list(ast.iter_child_nodes(node))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            children = list(node.body)
        elif isinstance(node, ast.AnnAssign):
            children = [node.value] if node.value else []
        elif isinstance(node, ast.JoinedStr | ast.Assert):
            children = []
        stack.extend(reversed(children))
