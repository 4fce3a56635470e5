"""Paper 69, RM-NLHF: a judge's critique against a person's; a tournament of pairwise verdicts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from agentrl.papers.kit.toys import listed, table, wait
from agentrl.papers.registry import Measured
from agentrl.rewards.group.tournament import double_elimination
from agentrl.rewards.judges.critique import CritiqueReward, argument_f1, inconsistency
from agentrl.rewards.judges.scripted import ScriptedChat

CLAIM = (
    "One of three arguments met by one of two is F1 .4; a nice critique with a wrong label earns "
    "0; a tournament of a transitive judge finds the best in at most 2n - 1 matches."
)


def _reward(right: bool, gated: bool) -> float:
    judge = ScriptedChat(
        lambda text, seed: {"human": ["a", "b", "c"], "model": ["a", "d"], "same": [[1, 1]]}
    )
    return wait(CritiqueReward(judge, gated=gated).reward(right, "h", "m")).value


async def _places(qualities: Sequence[float]) -> tuple[list[int], int]:
    async def beats(a: int, b: int) -> bool:
        return qualities[a] > qualities[b]

    return await double_elimination(len(qualities), beats)


def run(seeds: Sequence[int]) -> Measured:
    cases = [
        ("F1 of 1 in 3 and 2", 0.4, argument_f1(1, 3, 2)),
        ("right label", 1.4, _reward(True, True)),
        ("wrong label, gated", 0.0, _reward(False, True)),
        ("wrong label, not gated", 0.4, _reward(False, False)),
        (
            "right label, wrong critique",
            0.5,
            inconsistency([True, True, False], [True, False, False]),
        ),
    ]
    for seed in seeds:
        for n in (2, 5, 8, 11):
            qualities = np.random.default_rng(seed).permutation(n).tolist()
            places, matches = wait(_places(qualities))
            order = np.argsort(-np.array(qualities))
            cases.append((f"seed {seed}: place of the best of {n}", 0.0, places[order[0]]))
            cases.append(("of the second", 1.0, places[order[1]]))
            cases.append(("matches within 2n - 1", 1.0, float(matches <= 2 * n - 1)))
            cases += listed("places", list(range(n)), sorted(places))[:1]
    return table(cases)
