"""A verdict on the whole, then on every turn while the whole holds (DeepTravel, paper 18)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from agentrl.core import Check, Episode, Score

WholeCheck = Callable[[Episode], Awaitable[bool]]
TurnCheck = Callable[[Episode, int], Awaitable[bool]]


@dataclass(slots=True)
class Hierarchical:
    """R = whole(episode) * product over turns of turn(episode, t), all of them 0 or 1.

    The cheap or general check comes first: turns are judged only when it holds, and no further than
    the first that fails. Evidence names that turn (from 0).

    Attributes:
        whole: such as: is the plan feasible?
        turn: such as: is what this turn says backed by what its tools answered?
    """

    whole: WholeCheck
    turn: TurnCheck
    name: str = "hierarchical"

    async def score(self, episode: Episode) -> Score:
        if not await self.whole(episode):
            return Score(0.0, [Check("whole", 0.0, False)], evidence="the whole does not hold")
        checks = [Check("whole", 1.0, True)]
        for number in range(len(episode.turns)):
            holds = await self.turn(episode, number)
            checks.append(Check(f"turn {number}", float(holds), holds))
            if not holds:
                return Score(0.0, checks, evidence=f"turn {number} does not hold")
        return Score(1.0, checks)
