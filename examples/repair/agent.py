"""A deliberately mediocre repair agent, written as a script.

It knows the tools and their order, and mostly wastes them: it tries random edits inside the
function the issue names, often does not run the tests, often forgets to take a failed edit back,
and soon submits whatever it has. On one task in six it happens to be in a careful mood and reads
the failing test, takes back what did not help and goes on. The demo's policy is warm-started by
imitating it; reinforcement learning has to find out which of its ways are worth keeping.
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
    """How the agent works: probabilities, and whether it tries edits in the order of the lines,
    each once, or any at any time."""

    tests_first: float
    submits_untested: float
    gives_up: float
    forgets_undo: float
    in_order: bool


HASTY = Habits(
    tests_first=0.05, submits_untested=0.6, gives_up=0.6, forgets_undo=0.5, in_order=False
)
CAREFUL = Habits(
    tests_first=0.95, submits_untested=0.0, gives_up=0.0, forgets_undo=0.0, in_order=True
)
CAREFUL_SHARE = 1 / 6


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
    rng = random.Random(seed)
    habits = habits or (CAREFUL if rng.random() < CAREFUL_SHARE else HASTY)
    yield ""
    if rng.random() < habits.tests_first:
        yield "[run_tests()]"
    found = edits((yield "[view()]"))
    choices = [(line, old, new) for (old, new), lines in found.items() for line in lines]
    choices.sort(key=lambda choice: choice[0])
    while choices:
        line, old, new = choices.pop(0) if habits.in_order else rng.choice(choices)
        answer = yield f'[edit(old="{old}", new="{new}")]'
        if "give the line" in answer:
            yield f'[edit(old="{old}", new="{new}", line={line})]'
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
