"""The issue text of a made bug: by rule, from what the failing test says."""

from __future__ import annotations

import ast
import re

from agentrl.environments.swe.functions import Function

_CLIP = 120


def dotted(function: Function, paths: list[str]) -> str:
    """The importable name of a function: `package.module.Class.method`.

    >>> dotted_path("src/pack/mod.py", ["src"])
    'pack.mod'
    """
    return f"{dotted_path(function.path, paths)}.{function.name}"


def dotted_path(path: str, paths: list[str]) -> str:
    inside = [p for p in paths if p != "." and path.startswith(f"{p}/")]
    if inside:
        path = path[len(max(inside, key=len)) + 1 :]
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def issue_text(
    function: Function,
    paths: list[str],
    *,
    statement: str,
    message: str,
    reproduction: str | None,
) -> str:
    """What was expected, what happens, where: fewer than 80 words.

    Args:
        statement: source of the test's statement that failed.
        message: the error it failed with.
        reproduction: id of the test that shows it, when the agent can run it.
    """
    lines = [
        f"`{dotted(function, paths)}` ({function.path}) does not do what it should.",
        f"`{clip(statement)}` fails: {clip(first_line(message))}",
    ]
    if reproduction is not None:
        lines.append(f"Reproduce: {reproduction}")
    return "\n".join(lines)


def failing_statement(source: bytes, line: int) -> str:
    """The smallest statement of a test file that holds a line, on one line."""
    text = source.decode("utf-8", "replace")
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return text.splitlines()[line - 1].strip()
    best: ast.stmt | None = None
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt) and node.lineno <= line <= (node.end_lineno or 0):
            size = (node.end_lineno or 0) - node.lineno
            if best is None or size <= (best.end_lineno or 0) - best.lineno:
                best = node
    if best is None:
        return text.splitlines()[line - 1].strip()
    if getattr(best, "body", None):
        return text.split("\n")[line - 1].strip()
    return " ".join((ast.get_source_segment(text, best) or "").split())


def first_line(message: str) -> str:
    """The first line of an error message, without pytest's object addresses."""
    line = message.strip().split("\n", 1)[0].strip()
    return re.sub(r" at 0x[0-9a-f]+", "", line)


def clip(text: str) -> str:
    return text if len(text) <= _CLIP else text[: _CLIP - 3] + "..."
