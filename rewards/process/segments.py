"""What a step is: turns, paragraphs, sentences, or stretches between uncertain tokens."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from agentrl.core import Episode, Score, Span

By = Literal["turn", "paragraph", "sentence"]
_CUTS = {"paragraph": re.compile(r"\n[ \t]*\n\s*"), "sentence": re.compile(r"(?<=[.!?])\s+|\n+")}


@dataclass(slots=True, frozen=True)
class Piece:
    """Characters [start, stop) of the text of one turn."""

    turn: int
    start: int
    stop: int
    text: str


def pieces(episode: Episode, by: By = "turn") -> list[Piece]:
    """The steps of an episode in order. Pieces of a turn do not overlap; white space between them
    belongs to none; a turn without text is one empty piece."""
    found: list[Piece] = []
    for number, turn in enumerate(episode.turns):
        spans = [(0, len(turn.text))] if by == "turn" else _split(turn.text, _CUTS[by])
        found += [Piece(number, a, b, turn.text[a:b]) for a, b in spans]
    return found


def _split(text: str, cut: re.Pattern[str]) -> list[tuple[int, int]]:
    bounds, start = [], 0
    for found in cut.finditer(text):
        bounds.append((start, found.start()))
        start = found.end()
    bounds.append((start, len(text)))
    return [(a, b) for a, b in bounds if text[a:b].strip()] or [(0, len(text))]


def numbered(found: Sequence[Piece]) -> str:
    """The steps as a judge reads them, numbered from 1."""
    return "\n\n".join(f"[{n}] {piece.text.strip()}" for n, piece in enumerate(found, 1))


def place(score: Score, episode: Episode, found: Sequence[Piece], values: Sequence[float]) -> Score:
    """Put one value a piece into `steps` (the mean over a turn's characters) and, where a turn has
    several pieces, into `spans`."""
    turns = len(episode.turns)
    mass, size = [0.0] * turns, [0.0] * turns
    for piece, value in zip(found, values, strict=True):
        weight = max(piece.stop - piece.start, 1)
        mass[piece.turn] += weight * value
        size[piece.turn] += weight
    score.steps = [m / s if s else 0.0 for m, s in zip(mass, size, strict=True)]
    if len(found) != turns:
        score.spans = [Span(p.turn, p.start, p.stop, v) for p, v in zip(found, values, strict=True)]
    return score


def entropy_bounds(cuts: Sequence[bool], per_segment: int) -> list[int]:
    """Segment starts (and the end) so that each holds about `per_segment` cut points (GRPO-VPS,
    paper 35; 4 is its best).

    Args:
        cuts: bool[T], the high-entropy tokens.

    Returns:
        M + 1 positions from 0 to T, M = max(1, round(cut points / per_segment)).
    """
    at = [i for i, cut in enumerate(cuts) if cut]
    count = max(1, round(len(at) / per_segment))
    inner = [at[round(m * len(at) / count)] for m in range(1, count)]
    return [0, *inner, len(cuts)]
