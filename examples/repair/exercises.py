"""Reading exercises: what the demo's policy practises on Python's standard library.

A policy made from nothing has to learn to repeat an operator that it sees before it can repair
anything, and the scripted episodes are too few and too alike for that: it would learn them by
heart. An exercise is a conversation of two or three messages in the same words and tools. It shows
an issue that says nothing true, a few lines from anywhere in the standard library, and is answered
by the edits that turn round the operators in those lines, in their order, or by the number of a
line that an error asks for. What the issue quotes is there to be passed over. No bug, no test and
no container is involved.
"""

from __future__ import annotations

import random
import sysconfig
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from agentrl.core import Episode, Message, Task, Turn
from agentrl.tools import source
from examples.repair.agent import edits

# Other people's packages, tests, and tables that only look like code.
_LEFT_OUT = {"test", "tests", "site-packages", "dist-packages", "idlelib", "lib2to3"} | {
    "pydoc_data",
    "encodings",
}
_WIDEST = 90
_MOST_ROWS = 10
_LINE_SHARE = 0.5
_ERRORS = (
    "AssertionError: {} != {}",
    "AssertionError: Lists differ: [{}] != [{}]",
    "AssertionError: {} is not {}",
    "AssertionError: True is not false",
    "AssertionError: {} not found in [{}]",
    "AttributeError: 'NoneType' object has no attribute '{}'",
    "TypeError: unsupported operand type(s) for +: '{}' and '{}'",
    "IndexError: list index out of range",
)


def make_exercises(count: int, seed: int, folder: Path | None = None) -> list[Episode]:
    """Exercises on code of a folder, by default Python's standard library.

    They are conversations as a script would have had them: text without tokens, to be imitated
    after `rerender`.
    """
    rng = random.Random(seed)
    files = _files(folder or Path(sysconfig.get_path("stdlib")))
    weights = [len(lines) for _, lines in files]
    exercises: list[Episode] = []
    while len(exercises) < count:
        ((path, lines),) = rng.choices(files, weights)
        rows = _window(lines, rng)
        view = "\n".join(source.row(number, line) for number, line in rows.items())
        if choices := edits(view):
            turns = [_said("[view()]", f"{path}\n{view}"), *_answer(rows, choices, rng)]
            task = Task(f"exercise-{len(exercises)}", _issue(path, lines, rng))
            exercises.append(Episode(task, prompt=[Message("user", task.prompt)], turns=turns))
    return exercises


def _issue(path: str, lines: Sequence[str], rng: random.Random) -> str:
    """In the words of an issue, with a statement and an error that have nothing to do with it.

    Its first word tells the policy, and who reads the transcript, that it is practice.
    """
    module = path.removesuffix(".py").replace("/", ".")
    said = [rng.choice([*rng.choice(lines).split(), str(rng.randint(0, 99))]) for _ in range(2)]
    return (
        f"Practise. `{module}` ({path}) does not do what it should.\n"
        f"`{rng.choice(lines).strip()}` fails: {rng.choice(_ERRORS).format(*said)}"
    )


def _files(folder: Path) -> list[tuple[str, list[str]]]:
    """Each file's name and code lines, without docstrings and comments."""
    files = []
    for path in sorted(folder.rglob("*.py")):
        if _LEFT_OUT & set(path.relative_to(folder).parts):
            continue
        text = path.read_text("utf-8", "replace")
        inside = source.inside_docstrings(text)
        lines = [
            line
            for number, line in enumerate(source.split_lines(text), 1)
            if number not in inside and len(line) <= _WIDEST and '"""' not in line
        ]
        if lines := [line for line in lines if not line.lstrip().startswith("#")]:
            files.append((path.relative_to(folder).as_posix(), lines))
    return files


def _window(lines: Sequence[str], rng: random.Random) -> dict[int, str]:
    """Some rows in a row, with the small numbers that compact views have."""
    size, start = rng.randint(1, _MOST_ROWS), rng.randrange(len(lines))
    first = rng.randint(1, 24)
    return {first + i: line for i, line in enumerate(lines[start : start + size])}


def _answer(
    rows: dict[int, str], choices: dict[tuple[str, str], list[int]], rng: random.Random
) -> list[Turn]:
    """Each possible edit once, in the order of the lines; or one, and the line it asks for."""
    several = []
    for (old, new), lines in sorted(choices.items()):
        found = [n for n, line in rows.items() if source.token_matches(line, old)]
        here = [n for n in lines if n in found]
        if len(found) > 1 and here:
            several.append((old, new, found, here))
    if several and rng.random() < _LINE_SHARE:
        old, new, found, lines = rng.choice(several)
        asked = f"error: {old!r} is on lines {', '.join(map(str, found))}: give the line"
        line = rng.choice(lines)
        at = source.token_matches(rows[line], old)[0]
        changed = rows[line][:at] + new + rows[line][at + len(old) :]
        return [
            _said(f'[edit(old="{old}", new="{new}")]', asked),
            _said(f'[edit(old="{old}", new="{new}", line={line})]', source.row(line, changed)),
        ]
    calls = [f'edit(old="{old}", new="{new}")' for old, new in choices]
    return [_said(f"[{', '.join(calls)}]", "")]


def _said(text: str, answer: str) -> Turn:
    none = np.zeros(0, np.float32)
    return Turn(none, none, text, observations=[Message("tool", answer)])
