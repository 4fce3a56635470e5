"""The table of docs/rewards.md, made from the registry."""

from __future__ import annotations

import inspect
from typing import Any, get_type_hints

from agentrl.core import ChatModel, SandboxProvider, Scorer
from agentrl.rewards.compose import Gated, Weighted
from agentrl.rewards.registry import KINDS

_SCOPES = {
    "answer": "the answer",
    "outcome": "the episode",
    "turn": "each turn",
    "trajectory": "the turns, with a memory",
    "group": "the group",
    "transform": "a step's rewards",
    "derive": "(makes tasks)",
    "monitor": "a run",
}
_NEEDS = {ChatModel: "judge", Scorer: "log-probabilities", SandboxProvider: "sandbox"}
_COMPOSED = (("gated", Gated, 4), ("weighted", Weighted, 0))


def markdown() -> str:
    """One line for every entry."""
    lines = [
        "| kind | judges | what | needs | cost | paper |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, composed, paper in _COMPOSED:
        lines.append(_line(f"`{name}`", "the episode", composed, "rewards", "of its parts", paper))
    for kind in KINDS:
        made = kind.load()
        name = f"`{kind.name}`" if kind.name else f"`{kind.path.partition(':')[2]}` (Python)"
        lines.append(_line(name, _SCOPES[kind.scope], made, needs(made), kind.cost, kind.paper))
    return "\n".join(lines) + "\n"


def _line(name: str, scope: str, made: Any, need: str, cost: str, paper: int) -> str:
    cells = [name, scope, _about(made), need, cost, str(paper) if paper else ""]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _about(made: Any) -> str:
    """The first sentence of its docstring, formulas included."""
    first = (inspect.getdoc(made) or "").split("\n\n")[0]
    text = " ".join(first.split())
    return text.split(": ", 1)[0].rstrip(".:") if len(text) > 160 else text.rstrip(".")


def needs(made: Any) -> str:
    """What of the run an entry asks for."""
    hints = get_type_hints(made.__init__ if inspect.isclass(made) else made)
    found = {word for kind, word in _NEEDS.items() if kind in hints.values()}
    found |= {f"{word}, or none" for kind, word in _NEEDS.items() if kind | None in hints.values()}
    for hint in hints.values():
        inner = getattr(hint, "__init__", None) if inspect.isclass(hint) else None
        if inner is not None and hint.__module__.startswith("agentrl.rewards"):
            nested = get_type_hints(inner)
            found |= {word for kind, word in _NEEDS.items() if kind in nested.values()}
    return ", ".join(sorted(found))
