"""Stages 3 and 8: one loss weight per trained token, fixed before the first forward.

`loss = (weight * loss_of_token).sum()` over all micro-batches and ranks of an optimiser step, so
that neither splitting nor packing nor the world size can change it. Denominators count every
judged episode of the step, also those that are skipped because their gradient is zero.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from agentrl.core import Episode
from agentrl.learner.credit import has_flag
from agentrl.learner.rows import Row
from agentrl.learner.settings import Aggregation, WeightField


def weigh(
    rows: Sequence[Row], episodes: Sequence[Episode], field: WeightField, aggregation: Aggregation
) -> list[Row]:
    """Stages 3 and 8: set the weights of the rows of one optimiser step.

    Returns the rows of the episodes that the field leaves in.
    """
    factors = {id(r): field_weights(r, episodes[r.episode], field) for r in rows}
    inside = {r.episode for r in rows if factors[id(r)].any()}
    rows = [r for r in rows if r.episode in inside]
    values = sum(float(r.value_mask.sum()) for r in rows)
    for row, weight in zip(rows, aggregation_weights(rows, aggregation), strict=True):
        row.pull = weight
        row.weight = weight * factors[id(row)]
        row.value_weight = row.value_mask / max(values, 1.0)
    return rows


def aggregation_weights(rows: Sequence[Row], aggregation: Aggregation) -> list[np.ndarray]:
    """float64[N] for each row.

    `token`, `sequence` and `turn` sum to one over all rows; `constant` sums to the mean length
    over the constant. An episode of several rows counts once.
    """
    if not rows:
        return []
    sizes = [len(r.target) for r in rows]
    episode = np.repeat([r.episode for r in rows], sizes)
    turn = np.concatenate([r.turn for r in rows])
    weight = _weights(episode, turn, aggregation)
    return np.split(weight, np.cumsum(sizes)[:-1])


def _weights(episode: np.ndarray, turn: np.ndarray, aggregation: Aggregation) -> np.ndarray:
    _, e, tokens = np.unique(episode, return_inverse=True, return_counts=True)
    if aggregation.kind == "token":
        return np.full(len(e), 1.0 / len(e))
    if aggregation.kind == "constant":
        return np.full(len(e), 1.0 / (len(tokens) * aggregation.constant))
    if aggregation.kind == "sequence":
        return 1.0 / (len(tokens) * tokens[e])
    pairs, k, in_turn = np.unique(
        np.stack([e, turn]), axis=1, return_inverse=True, return_counts=True
    )
    turns = np.bincount(pairs[0])
    k = k.reshape(-1)
    return np.asarray(1.0 / (len(tokens) * turns[e] * in_turn[k]))


def field_weights(row: Row, episode: Episode, field: WeightField) -> np.ndarray:
    """float64[N], the factor of stage 3 on each token of a row whose advantages are known."""
    above, below = field.roles.get(str(episode.task.metadata.get("role")), (1.0, 1.0))
    factor = np.ones(len(row.target))
    factor[row.advantage > 0] = field.positive * above
    factor[row.advantage < 0] = field.negative * below
    factor *= field.sources.get(episode.source, 1.0)
    for flag, weight in field.flags.items():
        if has_flag(episode, flag):
            factor *= weight
    return factor * row.emphasis if len(row.emphasis) else factor
