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

_NAMED = re.compile(r"`([\w.]+)`")
_ROW = re.compile(r"^(\d+)\|(.*)$", re.MULTILINE)
_PASSED = re.compile(r"\b\d+ passed\b")
_FAILED = re.compile(r"\b\d+ (failed|error)")

SWAPS = {
    "<": ["<=", ">"],
    "<=": ["<", ">="],
    ">": [">=", "<"],
    ">=": [">", "<="],
    "==": ["!="],
    "!=": ["=="],
    "+": ["-"],
    "-": ["+"],
    "*": ["+", "/"],
    "/": ["*"],
    "//": ["/"],
    "%": ["*"],
    "+=": ["-="],
    "-=": ["+="],
    "and": ["or"],
    "or": ["and"],
    "not": [""],
    "is": ["is not"],
    "is not": ["is"],
    "in": ["not in"],
    "not in": ["in"],
    "True": ["False"],
    "False": ["True"],
    "0": ["1"],
    "1": ["0", "2"],
    "2": ["1", "3"],
}
_TOKEN = re.compile(
    r"\bis not\b|\bnot in\b|\b(?:and|or|not|is|in|True|False)\b|(?<![\w.])[012](?![\w.])"
    r"|<=|>=|==|!=|\+=|-=|//|\*\*|->|[-+*/%<>]"
)


@dataclass(frozen=True)
class Habits:
    """How often the agent does the wrong thing (probabilities)."""

    tests_first: float = 0.3
    submits_untested: float = 0.35
    gives_up: float = 0.45
    forgets_undo: float = 0.4


def edits(view: str) -> list[tuple[int, str, str]]:
    """Every single-operator edit (line, old, new) of the rows that a view shows."""
    found = []
    for number, code in _ROW.findall(view):
        code = code.split("#")[0]
        tokens = [m.group() for m in _TOKEN.finditer(code)]
        for old in dict.fromkeys(tokens):
            if tokens.count(old) == 1:
                found += [(int(number), old, new) for new in SWAPS.get(old, [])]
    return found


def mediocre(seed: int, habits: Habits | None = None) -> Generator[str, str, None]:
    """Yields one message per turn; is sent what the environment said since."""
    habits = habits or Habits()
    rng = random.Random(seed)
    heard = yield ""
    named = _NAMED.search(heard)
    target = named.group(1) if named else ""
    if rng.random() < habits.tests_first:
        yield "[run_tests()]"
    view = yield f'[view(target="{target}")]'
    choices = edits(view)
    while choices:
        line, old, new = rng.choice(choices)
        yield f'[edit(line={line}, old="{old}", new="{new}")]'
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
