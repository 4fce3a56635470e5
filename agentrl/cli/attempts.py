"""Attempts at a task for people: two side by side, or one turn after the other."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterator, Sequence
from itertools import zip_longest

from agentrl.cli.show import ending, print_lines, prompt_lines, turn_lines, verdict_lines
from agentrl.core import Episode, Turn

_KEYS = "enter: next turn   b: back   v: verdict   q: quit"
_MOST = 160


def compared(
    first: Episode,
    second: Episode,
    *,
    names: Sequence[str] = ("", ""),
    full: bool = False,
    width: int | None = None,
) -> Iterator[str]:
    """Two attempts in two columns, from the first turn in which they differ."""
    width = width or min(shutil.get_terminal_size((120, 40)).columns, _MOST)
    pair = (first, second)
    heads = [f"{n or e.id} ({e.task.id})" for n, e in zip(names, pair, strict=True)]
    yield from _columns([heads[0], ending(first)], [heads[1], ending(second)], width)
    yield "=" * width
    same = 0
    for mine, theirs in zip(first.turns, second.turns, strict=False):
        if not _alike(mine, theirs):
            break
        same += 1
    if first.task.id == second.task.id and same:
        what = "turn 0 is" if same == 1 else f"turns 0 to {same - 1} are"
        yield f"{what} the same in both"
    for number in range(same, max(len(first.turns), len(second.turns))):
        sides = [
            list(turn_lines(number, e.turns[number], full=full)) if number < len(e.turns) else []
            for e in pair
        ]
        yield from _columns(sides[0], sides[1], width)
    yield "-" * width
    verdicts = [list(verdict_lines(e, full=full)) for e in pair]
    yield from _columns(verdicts[0], verdicts[1], width)
    yield ""


def _alike(first: Turn, second: Turn) -> bool:
    then, now = ([m.content for m in t.observations] for t in (first, second))
    return first.text == second.text and then == now


def _columns(left: Sequence[str], right: Sequence[str], width: int) -> Iterator[str]:
    each = (width - 3) // 2
    for mine, theirs in zip_longest(_folded(left, each), _folded(right, each), fillvalue=""):
        yield f"{mine:<{each}} | {theirs}".rstrip()


def _folded(lines: Sequence[str], width: int) -> Iterator[str]:
    """Lines of at most that width; what is folded is indented as its line, and a little more."""
    for line in lines:
        clean = line.expandtabs(4).encode("utf-8", "backslashreplace").decode("utf-8")
        indent = " " * min(len(clean) - len(clean.lstrip()) + 2, width // 2)
        yield from textwrap.wrap(
            clean,
            width,
            subsequent_indent=indent,
            replace_whitespace=False,
            drop_whitespace=False,
        ) or [""]


def step_through(episode: Episode, *, full: bool = False) -> None:
    """Show one turn at a time and wait for a key and enter; at the end of the input, all of it."""
    print_lines(prompt_lines(episode, full=full))
    at = 0
    while at < len(episode.turns):
        print_lines(turn_lines(at, episode.turns[at], full=full))
        key = _ask(f"[turn {at} of {len(episode.turns) - 1}]  {_KEYS} > ")
        if key == "q":
            return
        if key == "v":
            break
        at = max(at - 1, 0) if key == "b" else at + 1
    print_lines(verdict_lines(episode, full=full))


def _ask(question: str) -> str:
    try:
        return input(question).strip().lower()[:1]
    except EOFError:
        print()
        return ""
