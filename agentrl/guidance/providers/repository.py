"""Plans for repairs, by rule: from the gold patch and the tests that the repair must pass."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field

from agentrl.core import Task, TaskFileError
from agentrl.environments.swe.functions import functions_of
from agentrl.environments.swe.task import SweTask
from agentrl.environments.swe.tree import PatchError, Tree, apply_diff
from agentrl.guidance.hints import Ask
from agentrl.guidance.settings import Tier

ASSERTIONS = 3
"""Assertions of failing tests that a plan tells."""


@dataclass(slots=True)
class Plan:
    """What is wrong and what to do, without the repair itself: `reference["plan"]`, or for a SWE
    task the tests that must pass, what they assert, and where to look."""

    tier: Tier
    levels: int = field(default=1, init=False)

    async def hint(self, ask: Ask, level: int) -> str | None:
        written = ask.task.reference.get("plan")
        return str(written) if written else plan_of(ask.task)


@dataclass(slots=True)
class Files:
    """Which places to open: `reference["files"]`, or what the gold patch changes."""

    tier: Tier
    levels: int = field(default=1, init=False)

    async def hint(self, ask: Ask, level: int) -> str | None:
        given = ask.task.reference.get("files")
        places = [str(place) for place in given] if given else places_of(ask.task)
        return f"Open {'; '.join(places)}." if places else None


def plan_of(task: Task) -> str | None:
    """A strategy of repair by rule; None for a task that is no SWE task or whose files are gone."""
    swe = _swe(task)
    if swe is None:
        return None
    functions = changed_functions(swe)
    tests = swe.reference.fail_to_pass
    lines = [f"1. Read the test that must pass: {tests[0]}."] if tests else []
    asserted = [text for test in tests for text in assertions(swe, test)]
    if asserted:
        shown = "; ".join(f"`{text}`" for text in dict.fromkeys(asserted[:ASSERTIONS]))
        lines.append(f"{len(lines) + 1}. It fails where it says {shown}.")
    where = " and ".join(f"`{name}` in {path}" for path, name, *_ in functions)
    if where:
        lines.append(f"{len(lines) + 1}. The fault is in {where}: find it and correct it there.")
    lines.append(f"{len(lines) + 1}. Run the tests, then submit.")
    return "\n".join(lines)


def places_of(task: Task) -> list[str]:
    """`path, lines a to b (function)` of what the gold patch changes."""
    swe = _swe(task)
    if swe is None:
        return []
    return [
        f"{path}, lines {first} to {last} (`{name}`)" if name else path
        for path, name, first, last in changed_functions(swe)
    ]


def changed_functions(swe: SweTask) -> list[tuple[str, str, int, int]]:
    """(path, function, first line, last line) in the task's state, of each function that the gold
    patch changes; function "" where what changes is in none."""
    try:
        fixed = apply_diff(swe.buggy, swe.reference.gold_patch)
    except PatchError:
        return []
    found: list[tuple[str, str, int, int]] = []
    for path in sorted(swe.buggy.keys() | fixed.keys()):
        if swe.buggy.get(path) == fixed.get(path):
            continue
        before, after = _bodies(swe.buggy, path), _bodies(fixed, path)
        names = [n for n, (body, *_) in before.items() if after.get(n, (None,))[0] != body]
        found += [(path, n, *before[n][1:]) for n in names] or [(path, "", 0, 0)]
    return found


def assertions(swe: SweTask, test: str) -> list[str]:
    """What a test asserts, as written: `assert` statements and `self.assert..` calls."""
    path, _, name = test.partition("::")
    source = swe.pristine.get(path) or swe.reference.extra_tests.get(path, "").encode()
    wanted = name.partition("[")[0].replace("::", ".")
    for function in functions_of(path, source):
        if function.name == wanted:
            nodes = [n for n in ast.walk(function.node) if _asserts(n)]
            return [ast.unparse(n) for n in sorted(nodes, key=lambda n: n.lineno)]  # type: ignore[attr-defined]
    return []


def _asserts(node: ast.AST) -> bool:
    if isinstance(node, ast.Assert):
        return True
    called = node.func if isinstance(node, ast.Call) else None
    return isinstance(called, ast.Attribute) and called.attr.startswith("assert")


def _bodies(tree: Tree, path: str) -> dict[str, tuple[str, int, int]]:
    """(source, first line, last line) of each function by name."""
    return {
        f.name: (ast.unparse(f.node), f.first_line, f.last_line)
        for f in functions_of(path, tree.get(path, b""))
    }


def _swe(task: Task) -> SweTask | None:
    if "gold_patch" not in task.reference or "archive" not in task.payload:
        return None
    try:
        return SweTask(task)
    except TaskFileError:
        return None
