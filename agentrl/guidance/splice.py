"""Where a recorded episode is taken up again: at its first wrong step, or where it was unsure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from random import Random

import numpy as np

from agentrl.core import Episode, Scorer

Point = tuple[int, int]
"""(turn, tokens of it that are kept)."""


def first_wrong(scores: Sequence[float], below: float = 0.5) -> int | None:
    """The first step (from 0) whose score is below the bound; None when all are right."""
    return next((i for i, score in enumerate(scores) if score < below), None)


def repair_point(episode: Episode, below: float, at_least: float) -> int | None:
    """The turn from which a failed episode is worth a repair: its first wrong one, when the steps
    before it are at least that share of all. None: there is none, or nothing scores its steps.

    Step scores are those of the reward, or `outcome["step_scores"]`.
    """
    score = episode.scores.get("reward")
    given = episode.outcome.get("step_scores") or (score.steps if score is not None else [])
    wrong = first_wrong([float(x) for x in given], below)
    if wrong is None or wrong >= len(episode.turns):
        return None
    return wrong if wrong / len(given) >= at_least else None


async def entropies(episode: Episode, scorer: Scorer) -> np.ndarray | None:
    """float32[N], the policy's entropy at each sampled token of the first segment, in nats; None
    when nothing was sampled there."""
    segment = episode.segments[0]
    where = np.flatnonzero(segment.action_mask)
    if not len(where) or where[0] == 0:
        return None
    found = await scorer.score(segment.tokens, int(where[0]), entropy=True)
    assert found.entropy is not None
    return np.asarray(found.entropy)[where - where[0]]


def entropy_point(
    episode: Episode,
    entropy: np.ndarray,
    texts: Sequence[str],
    rng: Random,
    *,
    top: int = 20,
    specials: Collection[str] = (),
) -> Point | None:
    """One of the `top` sampled tokens of highest entropy, each as likely (CURE, code).

    Left out are the first sampled token, control tokens, and tokens whose text without white space
    is at most one character long. The chosen token itself is sampled anew.

    Args:
        entropy: float[N] of the first segment's sampled tokens; texts: of the same tokens.
    """
    segment = episode.segments[0]
    turns = segment.turn[segment.action_mask]
    able = [
        i for i in range(1, len(entropy)) if texts[i] not in specials and len(texts[i].strip()) > 1
    ]
    best = sorted(able, key=lambda i: (-float(entropy[i]), i))[:top]
    if not best:
        return None
    chosen = rng.choice(best)
    turn = int(turns[chosen])
    return turn, chosen - int(np.flatnonzero(turns == turn)[0])
