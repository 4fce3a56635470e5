"""A deliberately mediocre repair agent, written as a script.

It knows the tools and their order, and mostly wastes them: more often than not it gives up before
it has tried anything; else it tries random edits inside the function the issue names, often forgets
to take a failed edit back, often does not run the tests at all, and soon submits whatever it has.
On one day in four it is careful: it begins with the tests, takes back what does not pass them,
looks again, and goes on. The demo's policy is warm-started by imitating it as it comes;
reinforcement learning has to find what is better.
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

    tries_nothing: float = 0.75
    submits_untested: float = 0.5
    gives_up: float = 0.5
    forgets_undo: float = 0.5


CAREFUL = Habits(tries_nothing=0.0, submits_untested=0.0, gives_up=0.0, forgets_undo=0.0)
CAREFUL_SHARE = 0.25


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


def fault(patch: str) -> tuple[str, str, str] | None:
    """What a gold patch of one line turns round, if one of `edits` does the same: the faulty line,
    the operator in it, and what it has to be."""
    bad, good = (
        [row[1:] for row in patch.split("\n") if re.match(rf"\{sign}(?!\{sign})", row)]
        for sign in "-+"
    )
    if len(bad) != 1 or len(good) != 1:
        return None
    for old, new in edits(f"1|{bad[0]}"):
        for match in _TOKEN.finditer(bad[0]):
            changed = bad[0][: match.start()] + new + bad[0][match.end() :]
            if match.group() == old and changed == good[0]:
                return bad[0], old, new
    return None


def mediocre(
    seed: int, habits: Habits | None = None, careful: float = CAREFUL_SHARE
) -> Generator[str, str, None]:
    """Yields one message per turn; is sent what the environment said since.

    Args:
        seed: of everything it draws.
        habits: on a hasty day.
        careful: the share of careful days, which begin with the tests.
    """
    rng = random.Random(seed)
    habits = habits or Habits()
    yield ""
    if rng.random() < careful:
        habits = CAREFUL
        yield "[run_tests()]"
    view = yield "[view()]"
    untried = [(old, new, line) for (old, new), lines in edits(view).items() for line in lines]
    rng.shuffle(untried)
    if rng.random() < habits.tries_nothing:
        untried.clear()
    while untried:
        old, new, line = untried.pop()
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
        if untried:
            yield "[view()]"
    yield "[submit()]"
