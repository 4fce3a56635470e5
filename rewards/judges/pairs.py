"""Which of two answers is better, asked in both orders so that position cannot decide."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from pydantic import BaseModel, Field

from agentrl.core import ChatModel
from agentrl.rewards.judges.judge import Judge
from agentrl.rewards.judges.template import Template


class PairScores(BaseModel):
    """Principles, critiques, and 0-10 for each (Writing-Zero, paper 53)."""

    critique: str = ""
    first: float = Field(ge=0, le=10)
    second: float = Field(ge=0, le=10)


PAIR = Template(
    "pair",
    "You compare two answers to one request. State the two to four principles that matter most for"
    " this request, criticise both answers by them, then give each a score from 0 to 10. Length"
    " is no merit. Neither is coming first.",
    "The request:\n{request}\n\nThe first answer:\n{first}\n\nThe second answer:\n{second}",
)


@dataclass(slots=True)
class Comparison:
    """`better` is True or False when a is better or worse in every vote of both orders, else None;
    `margin` the mean of score a - score b; `read` how many votes could be read."""

    better: bool | None
    margin: float
    read: int
    cost: float = 0.0

    @property
    def silent(self) -> bool:
        return self.read == 0


@runtime_checkable
class Comparer(Protocol):
    async def compare(self, request: str, a: str, b: str) -> Comparison: ...


@dataclass(slots=True)
class PairJudge:
    """A pairwise judge; 2 x `votes` questions a pair.

    Attributes:
        swap: ask in both orders. A judge that prefers a position then decides nothing.
    """

    model: ChatModel
    votes: int = 1
    temperature: float = 0.0
    swap: bool = True
    _judge: Judge[PairScores] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._judge = Judge(self.model, PAIR, PairScores, self.votes, self.temperature)

    async def compare(self, request: str, a: str, b: str) -> Comparison:
        """Abstains (`silent`) when an order has no readable vote. Raises `InfraError`."""
        orders = [(a, b), (b, a)] if self.swap else [(a, b)]
        ballots = await asyncio.gather(
            *(
                self._judge.ask({"request": request, "first": first, "second": second})
                for first, second in orders
            )
        )
        cost = sum(ballot.cost for ballot in ballots)
        if any(ballot.silent for ballot in ballots):
            return Comparison(None, 0.0, 0, cost)
        margins = [s.first - s.second for s in ballots[0].answers]
        margins += [s.second - s.first for ballot in ballots[1:] for s in ballot.answers]
        wins, losses = all(m > 0 for m in margins), all(m < 0 for m in margins)
        better = True if wins else False if losses else None
        return Comparison(better, sum(margins) / len(margins), len(margins), cost)
