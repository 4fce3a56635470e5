"""Verifiable and preference reward in one, behind a gate (Step-Audio-R1.5, paper 3)."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from agentrl.core import ChatModel, Check, Episode, Reward, Score
from agentrl.rewards.judges.pairs import Comparer, PairJudge

_THOUGHT = re.compile(r"<think>.*?(</think>|\Z)", re.DOTALL)


@dataclass(slots=True)
class PreferenceMix:
    """R = g * (verifiable * R_v + preference * sigmoid(margin over the reference reply)).

    g = [R_v > gate], open everywhere when `gate` is None. The margin is a pairwise judge's, over
    the reply without its thinking; equal replies give 1/2. A reward that only verifies is a trap:
    what the user hears decays unseen. See `DriftMonitor`. (The paper publishes no formula; this one
    is the reading of it that keeps every term monotone.)

    Attributes:
        scale: of the margin before the sigmoid; margins of the judge are in [-10, 10].
    """

    outcome: Reward
    judge: ChatModel
    verifiable: float = 0.5
    preference: float = 0.5
    gate: float | None = 0.0
    scale: float = 0.5
    votes: int = 1
    reference: str = "reply"
    name: str = "preference_mix"
    comparer: Comparer | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self.comparer = self.comparer or PairJudge(self.judge, self.votes)

    @property
    def parts(self) -> Sequence[Reward]:
        return [self.outcome]

    async def combine(self, episode: Episode, scores: Sequence[Score]) -> Score:
        (outcome,) = scores
        if outcome.abstained:
            return Score(abstained=True, evidence="the outcome abstained")
        is_open = self.gate is None or outcome.value > self.gate
        gate = Check("gate/preference", float(is_open), is_open)
        if not is_open:
            return Score(0.0, [gate], evidence="gate closed")
        if self.reference not in episode.task.reference or not episode.turns:
            return Score(abstained=True, evidence=f"no reference {self.reference!r}")
        assert self.comparer is not None
        reply = _THOUGHT.sub("", episode.turns[-1].text).strip()
        found = await self.comparer.compare(
            episode.task.prompt, reply, str(episode.task.reference[self.reference])
        )
        if found.silent:
            return Score(abstained=True, evidence="the judge cannot be read", cost=found.cost)
        liked = 1.0 / (1.0 + math.exp(-self.scale * found.margin))
        checks = [gate, Check("verifiable", outcome.value), Check("preference", liked)]
        value = self.verifiable * outcome.value + self.preference * liked
        return Score(value, checks, cost=found.cost)

    async def score(self, episode: Episode) -> Score:
        return await self.combine(episode, [await self.outcome.score(episode)])
