"""Episodes as text for people."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence

from agentrl.core import Episode, Message, ToolCall, Turn
from agentrl.store import EpisodeSummary

_LINES = 30
_VALUE = 200


def episode_lines(episode: Episode, *, full: bool = False) -> Iterator[str]:
    """One episode turn by turn; long texts are cut with a visible mark unless `full`."""
    yield from prompt_lines(episode, full=full)
    for number, turn in enumerate(episode.turns):
        yield from turn_lines(number, turn, full=full)
    yield "--- verdict"
    yield from verdict_lines(episode, full=full)
    yield ""


def prompt_lines(episode: Episode, *, full: bool = False) -> Iterator[str]:
    """What it is, how it ended, and what the policy read first."""
    yield f"=== {episode.task.id}   episode {episode.id or '(no id)'}, {ending(episode)}"
    if episode.branch:
        branch = episode.branch
        yield f"    from turn {branch['turn']} of {branch['episode']} ({branch['how']})"
    for message in episode.prompt:
        yield from _message(message, None if full else _LINES)


def turn_lines(number: int, turn: Turn, *, full: bool = False) -> Iterator[str]:
    """What the policy said and what came of it."""
    yield from _turn(number, turn, None if full else _LINES)


def verdict_lines(episode: Episode, *, full: bool = False) -> Iterator[str]:
    """The outcome and every score with its reasons."""
    yield from _verdict(episode, None if full else _LINES)


def ending(episode: Episode) -> str:
    """How it ended, in a few words."""
    cause = f" ({episode.cause})" if episode.cause else ""
    reward = f", reward {episode.reward:.3f}" if episode.judged else ", not judged"
    return f"{episode.status}{cause}{reward}"


def _message(message: Message, limit: int | None) -> Iterator[str]:
    name = f" {message.name}" if message.name else ""
    hint = " (hint)" if message.hint else ""
    yield f"--- {message.role}{name}{hint}"
    yield from _clipped(message.content, limit)
    if message.images:
        yield f"({len(message.images)} images)"


def _turn(number: int, turn: Turn, limit: int | None) -> Iterator[str]:
    cut = ", cut off by the length limit" if turn.finish_reason == "length" else ""
    rewards = "".join(f", {name} {value:g}" for name, value in turn.rewards.items())
    yield f"--- turn {number}: {len(turn.tokens)} tokens{cut}{rewards}"
    yield from _clipped(turn.text, limit)
    for index, call in enumerate(turn.calls):
        yield f"    > {_call(call)}"
        if index < len(turn.results):
            result = turn.results[index]
            mark = "" if result.ok else f" [{result.error}]"
            body = list(_clipped(result.text, limit))
            yield f"    <{mark} {body[0] if body else ''}".rstrip()
            yield from (f"      {line}" for line in body[1:])
    answered = {result.text for result in turn.results}
    for message in turn.observations:
        # Tool messages repeat the results; what the environment says of its own is shown.
        if message.content not in answered:
            yield from _message(message, limit)


def _call(call: ToolCall) -> str:
    if call.error:
        return f"unreadable call ({call.error}): {call.raw[:_VALUE]!r}"
    arguments = ", ".join(f"{name}={_short(value)}" for name, value in call.arguments.items())
    return f"{call.name}({arguments})"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _VALUE else f"{text[:_VALUE]}... ({len(text)} characters)"


def _verdict(episode: Episode, limit: int | None) -> Iterator[str]:
    for name, value in episode.outcome.items():
        if isinstance(value, str) and "\n" in value:
            yield f"{name}:"
            yield from (f"  {line}" for line in _clipped(value, limit))
        else:
            yield f"{name}: {value if isinstance(value, str) else json.dumps(value, default=repr)}"
    for name, score in episode.scores.items():
        said = "abstained" if score.abstained else f"{score.value:.3f}"
        yield f"score {name}: {said}{f'  {score.evidence}' if score.evidence else ''}"
        for check in score.checks:
            mark = {True: "yes", False: "no", None: f"{check.value:g}"}[check.passed]
            yield f"    {check.name}: {mark}{f'  {check.evidence}' if check.evidence else ''}"


def _clipped(text: str, limit: int | None) -> Iterator[str]:
    lines = text.splitlines()
    if limit is None or len(lines) <= limit:
        yield from lines
        return
    head = limit * 2 // 3
    yield from lines[:head]
    yield f"[... {len(lines) - limit} lines not shown, --full shows them ...]"
    yield from lines[len(lines) - (limit - head) :]


def print_lines(lines: Iterable[str]) -> None:
    for line in lines:
        # A tool may have printed anything; a terminal takes no lone surrogates.
        print(line.encode("utf-8", "backslashreplace").decode("utf-8"))


def summary_table(rows: Sequence[EpisodeSummary]) -> Iterator[str]:
    """Aligned lines with a head."""
    head = ("episode", "step", "split", "status", "reward", "turns", "tokens")
    cells = [
        (
            row.id,
            str(row.step),
            row.split,
            f"{row.status}{f' ({row.cause})' if row.cause else ''}",
            "-" if row.reward is None else f"{row.reward:.3f}",
            str(row.turns),
            str(row.tokens),
        )
        for row in rows
    ]
    return aligned([head, *cells])


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows of text in columns, the first row being the head."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()
