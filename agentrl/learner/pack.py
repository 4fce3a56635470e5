"""Rows -> micro-batches under a token budget: no padding, and shared prefixes only once.

Rows are sorted by their tokens (images by their content), so that each one has its longest common
prefix with the row before it. A micro-batch holds, for each row, the tokens beyond that prefix;
`place` says where in the packed tokens each token of the row lies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from agentrl.core import PlacedImage
from agentrl.learner.rows import Row
from agentrl.models.forest import Forest, Span
from agentrl.models.vision import join_positions


@dataclass(slots=True, eq=False)
class MicroBatch:
    """T packed tokens of which N are trained; tensors on the model's device."""

    rows: list[Row]
    tokens: torch.Tensor  # int64[T]
    position: torch.Tensor  # int64[T] or [axes, T], restarts with every row
    forest: Forest
    where: torch.Tensor  # int64[N], index into the packed tokens
    target: torch.Tensor  # int64[N]
    row: torch.Tensor  # int64[N], row of each trained token, from 0
    turn: torch.Tensor  # int64[N], (row, turn) of each trained token, from 0
    last: torch.Tensor  # int64[rows], index of each row's last token
    images: list[PlacedImage]  # at their places in the packed tokens, each once

    def gather(self, name: str, dtype: torch.dtype) -> torch.Tensor:
        """[N], an array of the rows end to end."""
        values = np.concatenate([getattr(r, name) for r in self.rows])
        return torch.as_tensor(values, dtype=dtype, device=self.tokens.device)

    def only(self, keep: torch.Tensor) -> MicroBatch:
        """The same packed tokens, of which only the rows of bool[rows] have trained tokens."""
        inside = keep[self.row]
        return replace(
            self,
            rows=[r for r, k in zip(self.rows, keep.tolist(), strict=True) if k],
            where=self.where[inside],
            target=self.target[inside],
            row=(keep.cumsum(0) - 1)[self.row[inside]],
            turn=self.turn[inside],
            last=self.last[keep],
        )


def mini_batches(rows: Sequence[Row], group: np.ndarray, count: int) -> list[list[Row]]:
    """Split by whole groups, so that more turns never make more optimiser steps.

    Args:
        group: int64[E], of the episodes that rows point to.
    """
    parts = np.array_split(np.unique(group), count)
    split = [[r for r in rows if group[r.episode] in part] for part in map(set, parts)]
    return [part for part in split if part]


def schedule(rows: Sequence[Row], budget: int, *, min_shared: int | None = 16) -> list[list[Row]]:
    """Micro-batches of at most `budget` packed tokens each, rows sorted by their tokens.

    A row that is longer than the budget gets a micro-batch of its own: nothing is ever cut.
    `min_shared` None shares nothing.
    """
    order = sorted(rows, key=lambda r: r.keys.astype(">i8").tobytes())
    batches: list[list[Row]] = []
    used = 0
    for row in order:
        new = len(row) - (_shared(batches[-1][-1], row, min_shared) if batches else 0)
        if not batches or used + new > budget:
            batches.append([])
            used, new = 0, len(row)
        batches[-1].append(row)
        used += new
    return batches


def pack(
    rows: Sequence[Row],
    device: torch.device | str = "cpu",
    *,
    min_shared: int | None = 16,
    positions_of: Callable[[Row], np.ndarray] | None = None,
) -> MicroBatch:
    """Lay rows (as `schedule` sorted them) out as one packed forest.

    Args:
        positions_of: int64[T] or [axes, T], of each token of a row; None counts from 0.
    """
    places: list[np.ndarray] = []
    fresh: list[np.ndarray] = []
    positions: list[np.ndarray] = []
    images: list[PlacedImage] = []
    starts: list[tuple[int, int]] = []  # (first packed token, tokens shared with the row before)
    size = 0
    for i, row in enumerate(rows):
        shared = _shared(rows[i - 1], row, min_shared) if i else 0
        new = len(row) - shared
        head = places[-1][:shared] if i else np.zeros(0, np.int64)
        places.append(np.concatenate([head, np.arange(size, size + new)]))
        fresh.append(row.tokens[shared:])
        known = np.arange(len(row)) if positions_of is None else positions_of(row)
        positions.append(known[..., shared:])
        images += [
            PlacedImage(p.start - shared + size, p.stop - shared + size, p.image)
            for p in row.images
            if p.start >= shared
        ]
        starts.append((size, shared))
        size += new
    where = [place[r.where] for place, r in zip(places, rows, strict=True)]
    ids = [np.full(len(r.where), i) for i, r in enumerate(rows)]
    turn = np.unique(
        np.stack([np.concatenate(ids), np.concatenate([r.turn for r in rows])]),
        axis=1,
        return_inverse=True,
    )[1].reshape(-1)

    def tensor(parts: list[np.ndarray]) -> torch.Tensor:
        return torch.as_tensor(np.concatenate(parts), dtype=torch.int64, device=device)

    return MicroBatch(
        rows=list(rows),
        tokens=tensor(fresh),
        position=torch.as_tensor(join_positions(positions), dtype=torch.int64, device=device),
        forest=Forest(_spans(starts, size)),
        where=tensor(where),
        target=tensor([r.target for r in rows]),
        row=tensor(ids),
        turn=tensor([turn]),
        last=tensor([place[-1:] for place in places]),
        images=images,
    )


def _shared(a: Row, b: Row, min_shared: int | None) -> int:
    """Length of the common prefix; 0 when it is not worth a cut."""
    if min_shared is None:
        return 0
    n = min(len(a), len(b))
    same = a.keys[:n] == b.keys[:n]
    length = n if same.all() else int(same.argmin())
    return length if length >= min_shared else 0


def _spans(starts: list[tuple[int, int]], size: int) -> list[Span]:
    """Cut the packed tokens where branches leave, and find where each span's subtree ends.

    Every row brings a run of fresh tokens that hangs at depth `shared` of the row before. A run
    is cut at each depth where a later row leaves it; the part above the cut is seen by that row.
    """
    ends = [s for s, _ in starts[1:]] + [size]
    path: list[list[int]] = []  # open spans from the root: [first token, depth, length]
    spans: list[Span] = []

    def close(depth: int, end: int) -> None:
        """Close what lies deeper than `depth`, cutting the span that holds it."""
        while path and path[-1][1] >= depth:
            first, _, length = path.pop()
            spans.append(Span(first, first + length, end))
        if path and path[-1][1] + path[-1][2] > depth:
            first, top, length = path[-1]
            keep = depth - top
            spans.append(Span(first + keep, first + length, end))
            path[-1][2] = keep

    for (first, depth), end in zip(starts, ends, strict=True):
        close(depth, first)
        if end > first:
            path.append([first, depth, end - first])
    close(0, size)
    return sorted(spans)
