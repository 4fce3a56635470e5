"""Episodes -> rows. From here on, arrays of reinforcement learning exist for trained tokens only.

A segment and the row made of it (P prompt, S sampled, O observation):

    index      0 1 2 3 4 5 6 7 8 9 10
    segment    P P P P S S S O O S O        T = 11, N = 4 trained
    tokens     P P P P S S S O O            what comes after the last predictor is never read
    target             4 5 6     9          the trained tokens ...
    where            3 4 5     8            ... and the hidden states that predict them

The shift by one is done here, once. Observations have no advantage, ratio, divergence or
entropy that could be masked wrongly, since they have no entry in any array of length N.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from agentrl.core import AgentRLError, Episode, Origin, PlacedImage, Segment, content_keys


class LearnerError(AgentRLError):
    """Episodes or numbers that no exact gradient can be made of."""


def _empty() -> np.ndarray:
    return np.zeros(0)


@dataclass(slots=True, eq=False)
class Row:
    """One segment as the learner trains on it: T tokens, N of them trained.

    What has a default is filled by later stages, float64[N] each unless said otherwise.
    """

    episode: int  # index into the episodes of the batch
    tokens: np.ndarray  # int64[T]
    where: np.ndarray  # int64[N], index into tokens of the predicting hidden state
    target: np.ndarray  # int64[N], the trained token
    behave: np.ndarray  # float64[N], behaviour log-probability
    turn: np.ndarray  # int64[N]
    version: np.ndarray  # int64[N], weights version that drew the token
    hinted: bool = False  # hint tokens were taken out: the context is not the behaviour's
    foreign: np.ndarray = field(default_factory=_empty)  # bool[N], not drawn in this context by us
    informed: Row | None = None  # the same trained tokens where hints are in the context
    images: list[PlacedImage] = field(default_factory=list)  # what stands at image tokens
    keys: np.ndarray = field(default_factory=_empty)  # int64[T], the tokens, images by content
    auxiliary: str = ""  # name of the auxiliary loss whose forced tokens these are
    advantage: np.ndarray = field(default_factory=_empty)
    weight: np.ndarray = field(default_factory=_empty)  # in the loss of the optimiser step
    pull: np.ndarray = field(default_factory=_empty)  # weight of divergences: aggregation alone
    now: np.ndarray = field(default_factory=_empty)  # log-probability before the update
    old: np.ndarray = field(default_factory=_empty)  # ... under the proximal policy
    reference: np.ndarray = field(default_factory=_empty)  # ... under the reference
    told: np.ndarray = field(default_factory=_empty)  # ... under the reference that reads the hints
    taught: np.ndarray = field(default_factory=_empty)  # 1 where there are such hints, else 0
    told_states: np.ndarray = field(
        default_factory=_empty
    )  # float32[N, d], what that one predicts by
    tempered: np.ndarray = field(default_factory=_empty)  # ... under the tempered reference
    power: np.ndarray = field(default_factory=_empty)  # exponent of the tempered reference
    penalty: np.ndarray = field(default_factory=_empty)  # taken from the reward
    emphasis: np.ndarray = field(default_factory=_empty)  # factor of THR
    value: np.ndarray = field(default_factory=_empty)  # critic's, before the update
    returns: np.ndarray = field(default_factory=_empty)  # what the critic learns
    value_mask: np.ndarray = field(default_factory=_empty)  # 1 where a value is defined
    value_weight: np.ndarray = field(default_factory=_empty)
    final: float = 0.0  # value of the state after the last token

    def __post_init__(self) -> None:
        self.keys = content_keys(self.tokens, self.images) if self.images else self.tokens

    def __len__(self) -> int:
        return len(self.tokens)


def make_rows(
    episodes: Sequence[Episode], *, strip_hints: bool = False, keep_tail: bool = False
) -> list[Row]:
    """One row for each segment that has trained tokens, in order.

    Args:
        strip_hints: take hint tokens out of the context.
        keep_tail: keep what comes after the last trained token, for the value of the end state.

    Raises:
        LearnerError: a behaviour log-probability is not finite, or a segment starts with a
            sampled token (nothing predicts it).
    """
    return [
        _make_row(i, episode, segment, strip_hints, keep_tail)
        for i, episode in enumerate(episodes)
        for segment in episode.segments
        if segment.action_mask.any()
    ]


def _make_row(
    index: int, episode: Episode, segment: Segment, strip_hints: bool, keep_tail: bool
) -> Row:
    keep = np.ones(len(segment), bool)
    if strip_hints:
        keep = segment.origin != Origin.HINT
    informed = None
    if not keep.all():
        informed = _make_row(index, episode, segment, False, keep_tail)
    trained = np.flatnonzero(segment.action_mask[keep])
    if trained[0] == 0:
        raise LearnerError(
            "a segment starts with a sampled token, which nothing predicts",
            where=f"episode {episode.id!r}",
            fix="every segment starts with at least one prompt token",
        )
    _check_behaviour(episode, segment)
    tokens = segment.tokens[keep][: None if keep_tail else trained[-1]].astype(np.int64)
    # Hints that the sampler never saw change no context that anything was drawn in.
    hinted = informed is not None and episode.guidance.get("placement") != "teacher_only"
    version = segment.weights[keep][trained].astype(np.int64)
    behind = np.cumsum(segment.origin == Origin.HINT)[keep][trained] > 0
    return Row(
        episode=index,
        tokens=tokens,
        where=trained - 1,
        target=segment.tokens[keep][trained].astype(np.int64),
        behave=segment.logprobs[keep][trained].astype(np.float64),
        turn=segment.turn[keep][trained].astype(np.int64),
        version=version,
        hinted=hinted,
        foreign=(version < 0) | (hinted & behind) | (episode.source != "policy"),
        informed=informed,
        images=_images(segment, keep, len(tokens)),
    )


def _images(segment: Segment, keep: np.ndarray, length: int) -> list[PlacedImage]:
    """The images that stand in the row, at their places there."""
    before = np.concatenate([[0], keep.cumsum()])
    moved = (
        PlacedImage(int(before[p.start]), int(before[p.stop]), p.image)
        for p in segment.images
        if keep[p.start]
    )
    return [placed for placed in moved if placed.stop <= length]


def _check_behaviour(episode: Episode, segment: Segment) -> None:
    bad = segment.action_mask & ~np.isfinite(segment.logprobs)
    if not bad.any():
        return
    first = int(np.flatnonzero(bad)[0])
    raise LearnerError(
        f"{int(bad.sum())} behaviour log-probabilities are not finite; the first is "
        f"{segment.logprobs[first]} at token {first} of turn {segment.turn[first]}, drawn by the "
        f"engine with weights version {segment.weights[first]} (source {episode.source!r})",
        where=f"episode {episode.id!r} of task {episode.task.id!r}",
        fix="the engine returned them: look at its logits (overflow in half precision, broken "
        "weights after a sync); no optimiser step was made",
    )
