"""Paper 16, Edit-R1: training a pointwise judge from preferences between groups (GCPO)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from agentrl.core import Group
from agentrl.papers.kit.toys import episode, listed, table, wait
from agentrl.papers.registry import Measured
from agentrl.rewards.group.base import judge_groups
from agentrl.rewards.group.preference import GroupContrast, contrast

CLAIM = (
    "tau^w = (8, 6) against tau^l = (5, 7) rewards both sides (1, 0.5); equal scores earn 0; any"
    " increasing map of the scores leaves the rewards as they are."
)


def _side(side: str, readings: Sequence[float]) -> Group:
    episodes = [
        episode(["r"], task=side, seed=i, outcome={"answer": x}, reward=0.0)
        for i, x in enumerate(readings)
    ]
    for e in episodes:
        e.task.metadata = {"pair": "p", "side": side}
    return Group((side,), episodes)


def run(seeds: Sequence[int]) -> Measured:
    winner, loser = _side("winner", (8, 6)), _side("loser", (5, 7))
    wait(judge_groups(GroupContrast(), [loser, winner]))
    cases = listed("winner", [1.0, 0.5], [e.reward for e in winner.episodes])
    cases += listed("loser", [1.0, 0.5], [e.reward for e in loser.episodes])
    cases += listed("equal", [0.0, 0.0], contrast([5, 5], [5, 5])[0])
    for seed in seeds:
        w, x = np.random.default_rng(seed).normal(size=(2, 6))
        plain, mapped = (
            contrast(w.tolist(), x.tolist()),
            contrast(np.exp(w).tolist(), np.exp(x).tolist()),
        )
        cases += listed(f"seed {seed}: exp of it", plain[0] + plain[1], mapped[0] + mapped[1])
    return table(cases)
