"""A deliberately mediocre repair agent, written as a script.

It knows the tools and their order, and wastes them: it tries random edits inside the function the
issue names, often forgets to take a failed edit back, often does not run the tests at all, and
soon submits whatever it has. The demo's policy is warm-started by imitating it; reinforcement
learning has to find what is better.
"""

from __future__ import annotations

import random
import re
from collections.abc import Generator
from dataclasses import dataclass

_ROW = re.compile(r"^(\d+)\|(.*)$", re.MULTILINE)
_PASSED = re.compile(r"\b\d+ passed\b")
_FAILED = re.compile(r"\b\d+ (failed|error)")

# What each operator may have been before somebody got it wrong.
REPAIRS = {
    "==": ("!=",),
    "!=": ("==",),
    "<": (">",),
    ">": ("<",),
    "<=": (">=",),
    ">=": ("<=",),
    "is": ("is not",),
    "is not": ("is",),
    "in": ("not in",),
    "not in": ("in",),
    "and": ("or",),
    "or": ("and",),
    "+": ("-",),
    "-": ("+",),
    "+=": ("-=",),
    "-=": ("+=",),
    "*": ("//", "/"),
    "//": ("*", "%"),
    "&": ("|", "^"),
    "|": ("&",),
    "<<": (">>",),
    ">>": ("<<",),
    "<<=": (">>=",),
    ">>=": ("<<=",),
}
_TOKEN = re.compile(
    r"\bis not\b|\bnot in\b|\b(?:and|or|is|in)\b|\bfor\b[^:]*?\bin\b"
    r"|<<=|>>=|\*\*|->|<<|>>|[-+*/%&|^]=|//=?|[<>=!]=|[-+*/%&|^<>]"
)


@dataclass(frozen=True)
class Habits:
    """How often the agent does the wrong thing (probabilities)."""

    tests_first: float = 0.2
    submits_untested: float = 0.3
    gives_up: float = 0.4
    forgets_undo: float = 0.5


def edits(view: str) -> dict[tuple[str, str], list[int]]:
    """Every edit (old, new) of one operator in the rows of a view, and the lines that it could be
    on; lines that hold `old` twice are left out."""
    found: dict[tuple[str, str], list[int]] = {}
    for number, code in _ROW.findall(view):
        if '"""' in code:
            continue
        tokens = [m.group() for m in _TOKEN.finditer(code.split("#")[0])]
        for old in dict.fromkeys(tokens):
            # `is` stands in `is not` as well.
            if sum(old in (token, *token.split()) for token in tokens) == 1:
                for new in REPAIRS.get(old, ()):
                    found.setdefault((old, new), []).append(int(number))
    return found


def mediocre(seed: int, habits: Habits | None = None) -> Generator[str, str, None]:
    """Yields one message per turn; is sent what the environment said since."""
    habits = habits or Habits()
    rng = random.Random(seed)
    yield ""
    if rng.random() < habits.tests_first:
        yield "[run_tests()]"
    choices = edits((yield "[view()]"))
    while choices:
        (old, new), lines = rng.choice(sorted(choices.items()))
        answer = yield f'[edit(old="{old}", new="{new}")]'
        if "give the line" in answer:
            yield f'[edit(old="{old}", new="{new}", line={rng.choice(lines)})]'
        if rng.random() < habits.submits_untested:
            break
        report = yield "[run_tests()]"
        if _PASSED.search(report) and not _FAILED.search(report):
            break
        if rng.random() < habits.gives_up:
            break
        if rng.random() >= habits.forgets_undo:
            yield "[undo()]"
    yield "[submit()]"
