"""Several processes, one gradient: every rank is given the same groups and does its share of rows.

Credit is computed alike on every rank, weights are of the whole step, and gradients are summed:
so the world size can change nothing. Without torch.distributed there is one rank.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.distributed as dist

from agentrl.learner.rows import LearnerError, Row


def world() -> tuple[int, int]:
    """(rank, size)."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def share(rows: Sequence[Row]) -> list[Row]:
    """This rank's rows: neighbours in token order (they share prefixes), about equal tokens."""
    rank, size = world()
    if size == 1:
        return list(rows)
    order = sorted(rows, key=lambda r: r.keys.astype(">i8").tobytes())
    total = sum(len(r) for r in order)
    mine, before = [], 0
    for row in order:
        middle = before + len(row) / 2
        if int(middle * size / max(total, 1)) == rank:
            mine.append(row)
        before += len(row)
    return mine


def sum_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Gradients of all ranks added up, in place; a rank without rows adds zero."""
    if world()[1] == 1:
        return
    for p in parameters:
        if p.grad is None:
            p.grad = torch.zeros_like(p)
        dist.all_reduce(p.grad)


def gather(value: Any) -> list[Any]:
    """The value of every rank, in the order of ranks."""
    size = world()[1]
    if size == 1:
        return [value]
    out: list[Any] = [None] * size
    dist.all_gather_object(out, value)
    return out


def agree(error: LearnerError | None) -> None:
    """Raise on every rank what any rank found, so that none waits for the others for ever."""
    found = [e for e in gather(error and (error.what, error.where, error.fix)) if e]
    if found:
        what, where, fix = found[0]
        raise LearnerError(what, where=where, fix=fix)
