"""GCPO: training a pointwise judge from pairs (Edit-R1, paper 16)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from agentrl.core import Check, Group, Score


@dataclass(slots=True)
class GroupContrast:
    """Rewards judges' scores of a preferred against those of a rejected answer.

    A pair is two tasks of one step whose `Task.metadata` have the same "pair" and the "side" winner
    or loser; an episode is one reading by the judge in training, with its score in
    `outcome["answer"]`. With scores tau,

        r^w_j = mean_k [tau^w_j > tau^l_k],     r^l_j = mean_k [tau^l_j < tau^w_k]

    Ties earn 0. Each side is its own group, so advantages are standardised inside it. A reading
    without a score gets 0, and counts as a tie for the others.
    """

    name: str = "group_contrast"

    async def compare_all(self, groups: Sequence[Group]) -> dict[str, list[Score]]:
        sides: dict[tuple[str, str], int] = {}
        for n, group in enumerate(groups):
            meta = group.episodes[0].task.metadata if group.episodes else {}
            if "pair" in meta and "side" in meta:
                sides[str(meta["pair"]), str(meta["side"])] = n
        found: dict[str, list[Score]] = {}
        for pair, side in sides:
            if side == "winner" and (pair, "loser") in sides:
                w, loser = sides[pair, "winner"], sides[pair, "loser"]
                better, worse = contrast(_readings(groups[w]), _readings(groups[loser]))
                found[str(w)] = [Score(r, [Check("pair", r)]) for r in better]
                found[str(loser)] = [Score(r, [Check("pair", r)]) for r in worse]
        return found


def _readings(group: Group) -> list[float]:
    """NaN where the judge gave no number."""
    values = []
    for episode in group.judged:
        try:
            values.append(float(episode.outcome.get("answer", "")))
        except (TypeError, ValueError):
            values.append(float("nan"))
    return values


def contrast(winner: Sequence[float], loser: Sequence[float]) -> tuple[list[float], list[float]]:
    """(rewards of the winner's readings, of the loser's). Invariant under increasing maps."""
    w, x = np.asarray(winner, np.float64), np.asarray(loser, np.float64)
    if not len(w) or not len(x):
        return [0.0] * len(w), [0.0] * len(x)
    beats = w[:, None] > x  # comparisons with NaN are false
    return beats.mean(1).tolist(), beats.mean(0).tolist()
