"""Reading exercises: what the demo's policy practises on Python's standard library.

A policy made from nothing has to learn to repeat an operator that it sees before it can repair
anything, and the scripted episodes are too few and too alike for that: it would learn them by
heart. An exercise is a short conversation in the same words and tools. It shows a few lines from
anywhere in the standard library, and is answered by the edits that turn round an operator in them;
in some of the exercises by edits that an error asks the line of, as without these a policy answers
with numbers that were not offered; in others behind edits that were refused (which are only read),
as without these it repeats them. No bug, no test and no container is involved.
"""

from __future__ import annotations

import random
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from agentrl.core import Episode, Message, Task, Turn, derive_seed
from agentrl.tools import source
from examples.repair.agent import REPAIRS, edits
from examples.repair.hints import in_line, is_operator

_LEFT_OUT = {"test", "tests", "site-packages", "dist-packages", "idlelib", "lib2to3"}
_WIDEST = 90
_MOST_ROWS = 8
_LINE_SHARE, _REFUSED_SHARE = 0.375, 0.25
_MOST_LINES_ASKED = 3
_REFUSED, _REPEATED = (1, 1, 2, 3), 0.25


def make_exercises(count: int, seed: int, folder: Path | None = None) -> list[Episode]:
    """Exercises on code of a folder, by default Python's standard library.

    They are conversations as a script would have had them: text without tokens, to be imitated
    after `rerender`.
    """
    rng = random.Random(seed)
    windows = _windows(folder, rng)
    exercises: list[Episode] = []
    while len(exercises) < count:
        rows, view = next(windows)
        choices = edits(view)
        task = Task(f"exercise-{len(exercises)}", "Practise.")
        prompt, turns = [Message("user", task.prompt)], [_said("[view()]", view)]
        if len(exercises) < _LINE_SHARE * count:
            said = _lines_asked(rows, choices, rng)
        elif len(exercises) < (_LINE_SHARE + _REFUSED_SHARE) * count:
            prompt += _refused(view, rows, rng)
            turns, said = [], _one_edit(choices, rng)
        else:
            said = _all_edits(choices, rng)
        if said:
            exercises.append(Episode(task, prompt=prompt, turns=[*turns, *said]))
    rng.shuffle(exercises)
    return exercises


def make_told(count: int, seed: int, folder: Path | None = None) -> list[Episode]:
    """Exercises with a hint of `examples.repair.hints`, answered by the edit that it is about.

    Only the edit is to be imitated; the view and the hint are read.
    """
    rng = random.Random(derive_seed(seed, "told"))
    windows = _windows(folder, rng)
    exercises: list[Episode] = []
    while len(exercises) < count:
        rows, view = next(windows)
        number = rng.choice(list(rows))
        here = sorted(edits(source.row(number, rows[number])))
        if not here:
            continue
        old, new = rng.choice(here)
        hint = rng.choice((in_line(rows[number]), is_operator(old)))
        task = Task(f"told-{len(exercises)}", "Practise.")
        prompt = [
            Message("user", task.prompt),
            Message("user", f"Hint: {hint}", hint=True),
            Message("assistant", "[view()]"),
            Message("tool", view),
        ]
        exercises.append(Episode(task, prompt=prompt, turns=[_said(f"[{_edit(old, new)}]", "")]))
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


def _windows(folder: Path | None, rng: random.Random) -> Iterator[tuple[dict[int, str], str]]:
    """Rows from anywhere in the folder's code, and the view of them; without end."""
    files = _files(folder or Path(sysconfig.get_path("stdlib")))
    weights = [len(lines) for lines in files]
    while True:
        (lines,) = rng.choices(files, weights)
        rows = _window(lines, rng)
        yield rows, "\n".join(source.row(number, line) for number, line in rows.items())


def _window(lines: Sequence[str], rng: random.Random) -> dict[int, str]:
    """Some rows in a row, with the small numbers that compact views have."""
    size, start = rng.randint(1, _MOST_ROWS), rng.randrange(len(lines))
    first = rng.randint(1, 24)
    return {first + i: line for i, line in enumerate(lines[start : start + size])}


def _all_edits(choices: dict[tuple[str, str], list[int]], rng: random.Random) -> list[Turn]:
    """Each possible edit once, in any order."""
    calls = [_edit(old, new) for old, new in choices]
    rng.shuffle(calls)
    return [_said(f"[{', '.join(calls)}]", "")] if calls else []


def _one_edit(choices: dict[tuple[str, str], list[int]], rng: random.Random) -> list[Turn]:
    if not choices:
        return []
    old, new = rng.choice(sorted(choices))
    return [_said(f"[{_edit(old, new)}]", "")]


def _refused(view: str, rows: dict[int, str], rng: random.Random) -> list[Message]:
    """The view and some edits that are refused: read, and not to be imitated. Some are repeated, as
    a policy that copies from what it said last does again and again."""
    said = [Message("assistant", "[view()]"), Message("tool", view)]
    refusals = _refusals(view, rows)
    old = rng.choice(sorted(refusals))
    for _ in range(rng.choice(_REFUSED)):
        if rng.random() >= _REPEATED:
            old = rng.choice(sorted(refusals))
        call = f"[{_edit(old, rng.choice(REPAIRS[old]))}]"
        said += [Message("assistant", call), Message("tool", f"error: {refusals[old]}")]
    return said


def _refusals(view: str, rows: dict[int, str]) -> dict[str, str]:
    """Operators that cannot be edited here, with the editor's error: absent, or twice in a line."""
    found = {}
    for old in REPAIRS:
        lines = [n for n, row in rows.items() if source.token_matches(row, old)]
        lines = lines or [n for n, row in rows.items() if source.matches(row, old)]
        if not lines:
            found[old] = f"{old!r} is not in the lines shown\n{view}"
        elif len(lines) == 1 and (times := len(source.matches(rows[lines[0]], old))) > 1:
            place = source.row(lines[0], rows[lines[0]])
            found[old] = f"{old!r} is {times} times in line {lines[0]}\n{place}"
    return found


def _lines_asked(
    rows: dict[int, str], choices: dict[tuple[str, str], list[int]], rng: random.Random
) -> list[Turn]:
    """Some edits of what stands on several lines, each with the error and the line it asks for."""
    turns: list[Turn] = []
    for (old, new), lines in rng.sample(sorted(choices.items()), len(choices)):
        found = [n for n, line in rows.items() if source.token_matches(line, old)]
        once = [n for n in found if len(source.token_matches(rows[n], old)) == 1]
        here = [n for n in lines if n in once]
        if len(found) < 2 or not here or len(turns) >= 2 * _MOST_LINES_ASKED:
            continue
        line = rng.choice(here)
        at = source.token_matches(rows[line], old)[0]
        changed = rows[line][:at] + new + rows[line][at + len(old) :]
        listed = ", ".join(map(str, once))
        again = "\n".join(source.row(n, rows[n]) for n in once)
        turns += [
            _said(
                f"[{_edit(old, new)}]",
                f"error: {old!r} is once on lines {listed}: give the line\n{again}",
            ),
            _said(f'[edit(old="{old}", new="{new}", line={line})]', source.row(line, changed)),
        ]
    return turns


def _edit(old: str, new: str) -> str:
    return f'edit(old="{old}", new="{new}")'


def _said(text: str, answer: str) -> Turn:
    none = np.zeros(0, np.float32)
    return Turn(none, none, text, observations=[Message("tool", answer)])
