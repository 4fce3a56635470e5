"""Reading exercises: what the demo's policy practises on Python's standard library.

A policy made from nothing has to learn to repeat an operator that it sees before it can repair
anything, and the scripted episodes are too few and too alike for that: it would learn them by
heart. An exercise is a conversation of two or three messages in the same words and tools. It shows
a few lines from anywhere in the standard library, and is answered by the edits that turn round an
operator in them, or by the number of a line that an error asks for. No bug, no test and no
container is involved.
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

_LEFT_OUT = {"test", "tests", "site-packages", "dist-packages", "idlelib", "lib2to3"}
_WIDEST = 90
_MOST_ROWS = 8
_LINE_SHARE = 0.5


def make_exercises(count: int, seed: int, folder: Path | None = None) -> list[Episode]:
    """Exercises on code of a folder, by default Python's standard library.

    They are conversations as a script would have had them: text without tokens, to be imitated
    after `rerender`.
    """
    rng = random.Random(seed)
    files = _files(folder or Path(sysconfig.get_path("stdlib")))
    weights = [len(lines) for lines in files]
    exercises: list[Episode] = []
    while len(exercises) < count:
        (lines,) = rng.choices(files, weights)
        rows = _window(lines, rng)
        view = "\n".join(source.row(number, line) for number, line in rows.items())
        if choices := edits(view):
            turns = [_said("[view()]", view), *_answer(rows, choices, rng)]
            task = Task(f"exercise-{len(exercises)}", "Practise.")
            exercises.append(Episode(task, prompt=[Message("user", task.prompt)], turns=turns))
    return exercises


def _files(folder: Path) -> list[list[str]]:
    """The code lines of each file, without docstrings and comments."""
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
            files.append(lines)
    return files


def _window(lines: Sequence[str], rng: random.Random) -> dict[int, str]:
    """Some rows in a row, with the small numbers that compact views have."""
    size, start = rng.randint(1, _MOST_ROWS), rng.randrange(len(lines))
    first = rng.randint(1, 24)
    return {first + i: line for i, line in enumerate(lines[start : start + size])}


def _answer(
    rows: dict[int, str], choices: dict[tuple[str, str], list[int]], rng: random.Random
) -> list[Turn]:
    """Each possible edit once, in any order; or one of them, and the line that it asks for."""
    several = []
    for (old, new), lines in sorted(choices.items()):
        found = [n for n, line in rows.items() if source.token_matches(line, old)]
        if len(found) > 1:
            several.append((old, new, found, lines))
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
    rng.shuffle(calls)
    return [_said(f"[{', '.join(calls)}]", "")]


def _said(text: str, answer: str) -> Turn:
    none = np.zeros(0, np.float32)
    return Turn(none, none, text, observations=[Message("tool", answer)])
