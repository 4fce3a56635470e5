"""Rehearsals: the demo's script at work on Python's standard library, without a sandbox.

A policy made from nothing has to learn to read a view and to repeat an operator that it sees
before it can repair anything, and the episodes recorded in containers are too few and too alike
for that: it would learn them by heart. So the same script also works on thousands of functions of
the standard library in which an operator was turned round. Here the tools are played by this
file: their answers are worded as the real ones, a test passes when the function is as it was, and
the failing test that an issue quotes is made up. What is learned from them is to go through the
motions; whether they help is for reinforcement learning in real containers to find out.
"""

from __future__ import annotations

import random
import re
import sysconfig
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from agentrl.core import Episode, Message, Task, Turn
from agentrl.tools import source
from examples.repair.agent import CAREFUL, HASTY, edits, mediocre

# Other people's packages, tests, and tables that only look like code.
_LEFT_OUT = {"test", "tests", "site-packages", "dist-packages", "idlelib", "lib2to3", "encodings"}
_MOST_ROWS = 13
_WIDEST = 90
_MOST_TURNS = 32
_FILES = 200
_EDIT = re.compile(r'\[edit\(old="(.*?)", new="(.*?)"(?:, line=(\d+))?\)\]')
_ERRORS = (
    "AssertionError: {0} != {1}",
    "AssertionError: Lists differ: [{0}, {1}] != [{1}]",
    "AssertionError: {0} is not {1}",
    "AssertionError: True is not false",
    "AssertionError: False is not true",
    "AssertionError: {0} not found in [{1}]",
    "AttributeError: 'NoneType' object has no attribute 'append'",
    "TypeError: unsupported operand type(s) for +: 'int' and 'NoneType'",
    "IndexError: list index out of range",
)


@dataclass(slots=True)
class _Function:
    """A function as a compact view shows it: its rows by their number, from 1."""

    path: str
    name: str
    rows: dict[int, str]

    @property
    def view(self) -> str:
        return "\n".join([self.path, *(source.row(n, line) for n, line in self.rows.items())])


@dataclass(slots=True)
class _Stage:
    """Plays the tools on one function with a bug, in the words of the real ones."""

    function: _Function
    sound: dict[int, str]
    report: str
    undone: list[tuple[int, str]] = field(default_factory=list)

    def answer(self, call: str) -> str:
        rows = self.function.rows
        if call == "[view()]":
            return self.function.view
        if call == "[run_tests()]":
            return "1 passed" if rows == self.sound else self.report
        if call == "[undo()]":
            if not self.undone:
                return "error: nothing to undo"
            line, before = self.undone.pop()
            rows[line] = before
            return source.row(line, before)
        if match := _EDIT.match(call):
            return self._edit(match[1], match[2], int(match[3]) if match[3] else None)
        return "submitted"

    def _edit(self, old: str, new: str, line: int | None) -> str:
        rows = self.function.rows
        found = [n for n, row in rows.items() if source.token_matches(row, old)]
        if line is None and len(found) > 1:
            return f"error: {old!r} is on lines {', '.join(map(str, found))}: give the line"
        if line is None and not found:
            return f"error: {old!r} is not in the lines shown"
        line = line or found[0]
        if (count := len(source.token_matches(rows[line], old))) != 1:
            times = f"{count} times" if count else "not"
            return f"error: {old!r} is {times} in line {line}\n{source.row(line, rows[line])}"
        self.undone.append((line, rows[line]))
        rows[line] = _replaced(rows[line], old, new)
        return source.row(line, rows[line])


def rehearse(
    count: int, seed: int, like: Episode, *, careful: float = 0.5, folder: Path | None = None
) -> list[Episode]:
    """Episodes of the script on functions of a folder, by default Python's standard library.

    They are text without tokens, to be imitated after `rerender`.

    Args:
        like: a recorded episode; system message and tools are taken from it.
        careful: share of the episodes in which the script is in a careful mood.
    """
    rng = random.Random(seed)
    functions = _functions(folder or Path(sysconfig.get_path("stdlib")), rng)
    opening = [m for m in like.prompt if m.role == "system"]
    episodes: list[Episode] = []
    while len(episodes) < count:
        found = rng.choice(functions)
        function = _Function(found.path, found.name, dict(found.rows))
        if not _plant(function, rng):
            continue
        issue, report = _issue(function, rng)
        stage = _Stage(function, dict(found.rows), report)
        task = Task(f"rehearsal-{len(episodes)}", issue)
        habits = CAREFUL if rng.random() < careful else HASTY
        turns = _play(stage, issue, mediocre(rng.getrandbits(32), habits))
        episodes.append(
            Episode(task, prompt=[*opening, Message("user", issue)], turns=turns, tools=like.tools)
        )
    return episodes


def _play(stage: _Stage, issue: str, script: Generator[str, str, None]) -> list[Turn]:
    next(script)
    none = np.zeros(0, np.float32)
    turns: list[Turn] = []
    heard = issue
    while len(turns) < _MOST_TURNS:
        try:
            said = script.send(heard)
        except StopIteration:
            break
        heard = stage.answer(said)
        turns.append(Turn(none, none, said, observations=[Message("tool", heard)]))
    return turns


def _plant(function: _Function, rng: random.Random) -> bool:
    """Turn round an operator that the script could turn back; False when there is none."""
    places = [
        (old, new, line)
        for (old, new), lines in sorted(edits(function.view).items())
        for line in lines
        if f" {old} " in function.rows[line]
        and len(source.token_matches(function.rows[line], old)) == 1
    ]
    rng.shuffle(places)
    for old, new, line in places:
        sound = function.rows[line]
        function.rows[line] = _replaced(sound, old, new)
        if line in edits(function.view).get((new, old), []):
            return True
        function.rows[line] = sound
    return False


def _replaced(row: str, old: str, new: str) -> str:
    at = source.token_matches(row, old)[0]
    return row[:at] + new + row[at + len(old) :]


def _issue(function: _Function, rng: random.Random) -> tuple[str, str]:
    """What an issue and a failing run of its test would say; what they quote is made up."""
    module = function.path.removesuffix(".py").replace("/", ".")
    short, called = module.rpartition(".")[2], function.name.rpartition(".")[2]
    a, b = rng.sample(range(-9, 100), 2)
    statement = f"self.assertEqual({a}, {called}({', '.join(map(str, rng.sample(range(40), 2)))}))"
    error = rng.choice(_ERRORS).format(a, b)
    test = f"tests/test_{short}.py::Test{short.title()}::test_{called}"
    issue = (
        f"`{module}.{function.name}` ({function.path}) does not do what it should.\n"
        f"`{statement}` fails: {error}\nReproduce: {test}"
    )
    line = rng.randint(9, 400)
    return issue, f"1 failed\n{test}\ntests/test_{short}.py:{line}| {statement}\nE {error}"


def _functions(folder: Path, rng: random.Random) -> list[_Function]:
    """The short functions of some files, as compact views show them."""
    paths = [p for p in folder.rglob("*.py") if not _LEFT_OUT & set(p.relative_to(folder).parts)]
    found = []
    for path in rng.sample(sorted(paths), min(len(paths), _FILES)):
        text = path.read_text("utf-8", "replace")
        found += _functions_of(path.relative_to(folder).as_posix(), text)
    return found


def _functions_of(path: str, text: str) -> Sequence[_Function]:
    lines, hidden = source.split_lines(text), source.inside_docstrings(text)
    found = []
    for definition in source.definitions(text):
        shown = [n for n in range(definition.first, definition.last + 1) if n not in hidden]
        rows = {n - definition.first + 1: lines[n - 1] for n in shown}
        fits = len(rows) <= _MOST_ROWS and all(len(row) <= _WIDEST for row in rows.values())
        if fits and not definition.is_class:
            found.append(_Function(path, definition.name, rows))
    return found
