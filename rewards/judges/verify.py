"""Verifiers that ask a judge."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel

from agentrl.core import ChatModel, Check, Score
from agentrl.rewards.judges.judge import Judge, verdict_probability
from agentrl.rewards.judges.template import Template
from agentrl.rewards.judges.votes import BoolRule, agreement, decide
from agentrl.rewards.verifiers.base import Item

ONE_TOKEN = Template(
    "verdict_token",
    "You decide whether a final answer is the same as the right answer. Form does not matter, the"
    " value does. Reply with 1 when it is, with 0 when it is not, and with nothing else.",
    "The question:\n{question}\n\nThe right answer:\n{reference}\n\nThe final answer:\n{answer}",
)
VERDICT = Template(
    "verdict",
    "You decide whether a final answer is the same as the right answer. Form does not matter, the"
    " value does. An answer that hedges, lists alternatives or only describes how to get there is"
    " wrong.",
    ONE_TOKEN.question,
)


class Verdict(BaseModel):
    """Whether the answer is right."""

    reason: str = ""
    correct: bool


@dataclass(slots=True)
class SoftVerifier:
    """A generative verifier's one token c in {0, 1} and its probability (paper 22).

        binary  [c = 1]
        soft    phi(1) if c = 1, 1 - phi(0) if c = 0

    Only the last non-empty line of the answer is shown. The paper gives 0 to what is neither token;
    here it abstains, unless `unread` is "wrong". With votes > 1 the mean (soft) or the majority.
    """

    judge: ChatModel
    soft: bool = True
    unread: str = "abstain"
    name: str = "soft_verifier"

    async def verify(self, item: Item) -> Score:
        line = next((x.strip() for x in reversed(item.answer.splitlines()) if x.strip()), "")
        if not line:
            return Score(0.0, evidence="no answer")
        given = {"question": item.question, "reference": item.reference, "answer": line}
        verdict, probability, reply = await verdict_probability(self.judge, ONE_TOKEN, given)
        if verdict is None:
            abstains = self.unread != "wrong"
            said = f"neither 1 nor 0: {reply.text[:80]!r}"
            return Score(0.0, abstained=abstains, evidence=said, cost=reply.cost)
        value = float(verdict)
        if self.soft:
            value = probability if verdict else 1.0 - probability
        checks = [Check("verdict", float(verdict), verdict, f"p {probability:.3f}")]
        return Score(value, checks, evidence=reply.text[:80], cost=reply.cost)


@dataclass(slots=True)
class JudgeVerifier:
    """A judge with a reason and a yes or no; `votes` of them by `rule`. Abstains when none can be
    read. A check holds how far the votes agree."""

    judge: ChatModel
    votes: int = 1
    rule: BoolRule = "majority"
    temperature: float = 0.0
    longest: int = 4_000
    name: str = "judge"
    _asked: Judge[Verdict] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._asked = Judge(self.judge, VERDICT, Verdict, self.votes, self.temperature)

    async def verify(self, item: Item) -> Score:
        if not item.answer.strip() or len(item.answer) > self.longest:
            return Score(0.0, evidence=f"an answer of {len(item.answer)} characters")
        ballot = await self._asked.ask(
            {"question": item.question, "reference": item.reference, "answer": item.answer}
        )
        if ballot.silent:
            return Score(abstained=True, evidence=ballot.said, cost=ballot.cost)
        votes = [a.correct for a in ballot.answers]
        checks = [
            Check(f"vote/{n}", float(v.correct), v.correct, v.reason[:200])
            for n, v in enumerate(ballot.answers)
        ]
        checks.append(Check("agreement", agreement(votes)))
        return Score(decide(votes, self.rule), checks, evidence=ballot.said, cost=ballot.cost)

    async def verify_all(self, items: Sequence[Item]) -> list[Score]:
        """Many at once, in their order."""
        return list(await asyncio.gather(*map(self.verify, items)))
