"""Credit of parts of turns: rewards of spans of text -> advantages of the tokens that wrote them.

A critic that looks closer than at turns leaves `Score.spans`, character ranges of turns. A channel
of source `spans` gives every trained token the reward of the span that holds its first character
and compares tokens (CAPO, paper 41: A_t = (R_t - mean over the tokens of the group) / std).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from agentrl.core import Episode, Span
from agentrl.learner.credit import TurnTable, compare, keys_of
from agentrl.learner.rows import LearnerError, Row
from agentrl.learner.settings import Channel


class Spelling(Protocol):
    """Ids and text, both ways; a policy's tokenizer."""

    def texts(self, ids: Sequence[int]) -> list[str]:
        """What each id adds to the text."""
        ...

    def encode_plain(self, text: str) -> list[int]:
        """Ids of text in which nothing is a control token."""
        ...


def token_values(
    texts: Sequence[str], spans: Sequence[Span], *, outside: float = 0.0
) -> list[float]:
    """Values of the tokens of one turn from spans over its text.

    Args:
        texts: the text that each token adds, in order ("" for one that adds none).
        spans: those of this turn; a token takes the value of the span that holds its first
            character, `outside` when none does. Every token is covered once.
    """
    values, at = [], 0
    for text in texts:
        inside = (s.value for s in spans if s.start <= at < s.stop)
        values.append(next(inside, outside))
        at += len(text)
    return values


def token_rewards(row: Row, episode: Episode, spelling: Spelling | None) -> np.ndarray:
    """float64[N], the reward of each trained token of a row.

    In a turn with spans: that of its span, the score's value outside all of them (white space
    between steps, the end of the turn). Without spans: the turn's step reward, and where the
    score says nothing of turns its value.

    Raises:
        LearnerError: there are spans and nothing to spell tokens with.
    """
    score = episode.scores["reward"]
    if not score.spans:
        steps = np.asarray(score.steps, np.float64)
        return steps[row.turn] if len(steps) else np.full(len(row.target), score.value)
    if spelling is None:
        raise LearnerError(
            "spans are ranges of text, and the learner was given no tokenizer",
            where=f"episode {episode.id!r}",
            fix="Learner(policy, settings, policy.tokenizer)",
        )
    rewards = np.full(len(row.target), score.value, np.float64)
    for turn in np.unique(row.turn):
        spans = [s for s in score.spans if s.turn == turn]
        at = np.flatnonzero(row.turn == turn)
        texts = spelling.texts(row.target[at].tolist())
        rewards[at] = token_values(texts, spans, outside=score.value)
    return rewards


def add_span_credit(
    rows: Sequence[Row],
    episodes: Sequence[Episode],
    table: TurnTable,
    channels: Mapping[str, Channel],
    spelling: Spelling | None,
) -> None:
    """Add the advantages of the channels of source `spans` to those that the rows have."""
    finer = [c for c in channels.values() if c.source == "spans"]
    if not finer or not rows:
        return
    sizes = [len(r.target) for r in rows]
    rewards = np.concatenate([token_rewards(r, episodes[r.episode], spelling) for r in rows])
    group = np.repeat([int(table.group[r.episode]) for r in rows], sizes)
    turn = np.concatenate([r.turn for r in rows])
    for c in finer:
        found = c.weight * compare(rewards, keys_of(c, group=group, turn=turn), c)
        for row, part in zip(rows, np.split(found, np.cumsum(sizes)[:-1]), strict=True):
            row.advantage = row.advantage + part
