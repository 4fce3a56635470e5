"""Paper 66, VeRPO: tests weighted by how rarely they pass."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from agentrl.papers.kit.toys import episode, group, listed, table, wait
from agentrl.papers.registry import Measured
from agentrl.rewards.group.base import judge_groups
from agentrl.rewards.group.difficulty import DifficultyWeighted, difficulty_weights

CLAIM = (
    "Pass rates (.9, .9, .9, .1) weigh (.1355 x 3, .9048): the hard test outweighs the easy ones "
    "together; another easy test leaves the cluster's weight; equal rollouts get 0; success in 2 "
    "turns beats 4."
)


def _scores(results: Sequence[Sequence[Sequence[bool]]]) -> tuple[list[float], list[list[float]]]:
    """(values, steps) of a group; results[i][t][j] is test j after turn t of rollout i."""
    members = [
        episode(
            ["x"] * len(turns),
            seed=i,
            reward=0.0,
            outcome={"tests": [{f"t{j}": p for j, p in enumerate(turn)} for turn in turns]},
        )
        for i, turns in enumerate(results)
    ]
    wait(judge_groups(DifficultyWeighted(), [group(members)]))
    return [e.reward for e in members], [e.scores["reward"].steps for e in members]


def run(seeds: Sequence[int]) -> Measured:
    weights = difficulty_weights(np.array([0.9, 0.9, 0.9, 0.1]))
    cases = listed("weights", [0.1355, 0.1355, 0.1355, 0.9048], weights.tolist())
    cases.append(("hard above all easy", 1.0, float(weights[3] > weights[:3].sum())))
    doubled = difficulty_weights(np.array([0.9] * 6 + [0.1]))
    cases.append(("six easy tests weigh as three", weights[:3].sum(), doubled[:6].sum()))
    same = _scores([[[True, False]]] * 4)
    cases += listed("equal rollouts", [0] * 4, same[0] + []) + listed(
        "their steps", [0] * 4, [s[0] for s in same[1]]
    )
    fast, slow = [[False], [True]], [[False], [False], [False], [True]]
    values = _scores([fast, slow, [[False]]])[0]
    cases.append(("2 turns beat 4 by", 0.95**2 - 0.95**4, values[0] - values[1]))
    for seed in seeds:
        drawn = np.random.default_rng(seed).random((6, 3, 4)) < 0.5
        values, steps = _scores(drawn.tolist())
        cases.append((f"seed {seed}: values sum to", 0.0, sum(values)))
        cases.append((f"seed {seed}: steps sum to", 0.0, sum(map(sum, steps))))
    return table(cases)
