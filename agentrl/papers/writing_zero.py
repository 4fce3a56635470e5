"""Paper 53, Writing-Zero: every rollout against one of its own group (BRPO)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from agentrl.papers.kit.toys import episode, group, listed, table, wait
from agentrl.papers.registry import Measured
from agentrl.rewards.group.base import judge_groups
from agentrl.rewards.group.bootstrap import Bootstrap
from agentrl.rewards.judges.pairs import PairJudge
from agentrl.rewards.judges.scripted import ScriptedChat

CLAIM = (
    "Wins in every vote of both orders are +1, all else -1; a judge that prefers a position can "
    "make nobody win; a one-sided group is dropped; summed over all references a strict judge "
    "gives 0."
)


@dataclass
class Chooser:
    """Which reference is drawn for a seed: found by trying, the draw is the reward's own."""

    qualities: Sequence[float]

    def rewards(
        self, seed: int, position_bias: bool = False, skew: float = 0.6
    ) -> list[float | None]:
        members = group(
            [episode([f"text {i} end"], seed=i, reward=0.0) for i in range(len(self.qualities))]
        )

        def compare(text: str, _: int) -> dict[str, float]:
            shown = sorted(
                (text.index(f"text {i} end"), q)
                for i, q in enumerate(self.qualities)
                if f"text {i} end" in text
            )
            if position_bias:
                return {"first": 9, "second": 1}
            return {"first": shown[0][1], "second": shown[-1][1]}

        judge = ScriptedChat(compare)
        reward = Bootstrap(judge, skew=skew, seed=seed, comparer=PairJudge(judge))
        wait(judge_groups(reward, [members]))
        scores = [e.scores["reward"] for e in members.episodes]
        return [None if s.abstained else s.value for s in scores]

    def by_reference(self) -> dict[int, list[float]]:
        """The rewards for every reference, over seeds until each was drawn; skew is let through."""
        found: dict[int, list[float]] = {}
        for seed in range(200):
            rewards = self.rewards(seed, skew=2.0)
            numbers = [r for r in rewards if r is not None]
            found.setdefault(numbers.index(0.0), numbers)
            if len(found) == len(self.qualities):
                break
        return found


def run(seeds: Sequence[int]) -> Measured:
    five = Chooser([5, 6, 7, 8, 4])
    cases = listed("wins 1, 2, 3, loss 4", [0, 1, 1, 1, -1], five.by_reference()[0])
    again = [five.rewards(3) == five.rewards(3)]
    cases.append(("the draw is reproducible", 1.0, float(all(again))))
    best = Chooser([1, 6, 7, 8, 9])
    worst_first = next(s for s in range(200) if best.rewards(s, skew=2.0)[0] == 0)
    cases.append(("all win: dropped", 5.0, best.rewards(worst_first).count(None)))
    biased = [r for r in five.rewards(0, position_bias=True, skew=2.0) if r != 0.0]
    cases += listed("a judge of positions", [-1] * 4, [r or 0.0 for r in biased])
    for seed in seeds:
        qualities = (np.random.default_rng(seed).permutation(6) + 1).tolist()
        total = sum(map(sum, Chooser(qualities).by_reference().values()))
        cases.append((f"seed {seed}: sum over references", 0.0, total))
    return table(cases)
