"""BRPO: every rollout against one of its own group (Writing-Zero, paper 53)."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from agentrl.core import ChatModel, Check, Episode, Group, Score, derive_seed
from agentrl.rewards.group.base import abstain_all
from agentrl.rewards.judges.pairs import Comparer, PairJudge


@dataclass(slots=True)
class Bootstrap:
    """+1 for beating a reference rollout in every vote of both orders, else -1; 0 for the
    reference.

    The reference is drawn uniformly from the group by its seed. 2 * votes * (G - 1) questions a
    group. The reward is the advantage, with no mean and no scale: learn with {by: [], baseline:
    none}. Groups with |sum R| / G > `skew` abstain: they say more of the reference than of the
    others. A rollout whose ballots cannot be read abstains alone.
    """

    judge: ChatModel
    votes: int = 1
    temperature: float = 0.0
    skew: float = 0.6
    seed: int = 0
    name: str = "bootstrap"
    comparer: Comparer | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self.comparer = self.comparer or PairJudge(self.judge, self.votes, self.temperature)

    async def compare(self, group: Group, episodes: Sequence[Episode]) -> list[Score]:
        assert self.comparer is not None
        able = [e for e in episodes if e.turns]
        if len(able) < 2:
            return abstain_all(episodes, "fewer than two answers to compare")
        drawn = derive_seed(self.seed, "reference", *group.key, episodes[0].seed)
        reference = random.Random(drawn).choice(able)
        others = [e for e in able if e is not reference]
        request = reference.task.prompt
        found = await asyncio.gather(
            *(
                self.comparer.compare(request, e.turns[-1].text, reference.turns[-1].text)
                for e in others
            )
        )
        by_id = {id(e): c for e, c in zip(others, found, strict=True)}
        readable = [c for c in found if not c.silent]
        total = sum(1 if c.better else -1 for c in readable)
        if abs(total) / len(episodes) > self.skew:
            return abstain_all(episodes, f"skew {abs(total) / len(episodes):.2f}")
        scores = []
        for episode in episodes:
            c = by_id.get(id(episode))
            if episode is reference:
                scores.append(Score(0.0, evidence="the reference"))
            elif c is None or c.silent:
                scores.append(Score(abstained=True, evidence="no readable comparison"))
            else:
                won = bool(c.better)
                checks = [Check("margin", c.margin, won)]
                scores.append(Score(1.0 if won else -1.0, checks, cost=c.cost))
        return scores
