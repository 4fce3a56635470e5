"""A rubric's items, each scored by a judge, joined by their kinds (papers 11, 16)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from pydantic import BaseModel, Field

from agentrl.core import ChatModel, Check, CheckKind, Episode, Score
from agentrl.rewards.combine import checklist
from agentrl.rewards.judges.judge import Judge
from agentrl.rewards.judges.template import Template
from agentrl.rewards.judges.votes import agreement


class RubricItem(BaseModel):
    """One thing to look at: `weight` is the most it gives; a pitfall takes up to it away."""

    id: str
    question: str
    kind: CheckKind = "positive"
    weight: float = Field(default=1.0, gt=0)


class ItemScore(BaseModel):
    """0 not at all, 1 entirely. For a pitfall: how far the answer falls into it."""

    reason: str = ""
    share: float = Field(ge=0, le=1)


SCORE_ITEM = Template(
    "rubric_item",
    "You score one item of a rubric on an agent's answer: 0 when it is not there at all, 1 when it"
    " is there entirely. Look at this item only.",
    "The task:\n{task}\n\nThe answer:\n{answer}\n\nThe item:\n{item}",
)


@dataclass(slots=True)
class Rubric:
    """Every item of `Task.reference["rubric"]` (or of `items`) judged on the last message.

    All items go out at once. Joined by `checklist`: essential items gate, positive ones add up,
    pitfalls take away. An item without a readable vote makes the whole abstain.
    """

    judge: ChatModel
    items: list[RubricItem] = field(default_factory=list)
    votes: int = 1
    temperature: float = 0.0
    threshold: float = 0.0
    gate: bool = True
    reference: str = "rubric"
    name: str = "rubric"
    _asked: Judge[ItemScore] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._asked = Judge(self.judge, SCORE_ITEM, ItemScore, self.votes, self.temperature)

    async def score(self, episode: Episode) -> Score:
        given = episode.task.reference.get(self.reference, [])
        items = self.items or [RubricItem.model_validate(item) for item in given]
        if not items or not episode.turns:
            return Score(abstained=True, evidence="no rubric" if not items else "no answer")
        answer = episode.turns[-1].text
        found = await asyncio.gather(
            *(self._item(episode.task.prompt, answer, item) for item in items)
        )
        cost = sum(cost for _, cost in found)
        checks = [check for check, _ in found if check is not None]
        if len(checks) < len(items):
            said = f"{len(items) - len(checks)} of {len(items)} items could not be read"
            return Score(checks=checks, abstained=True, evidence=said, cost=cost)
        score = checklist(checks, gate=self.gate, threshold=self.threshold)
        score.cost = cost
        return score

    async def _item(self, task: str, answer: str, item: RubricItem) -> tuple[Check | None, float]:
        ballot = await self._asked.ask({"task": task, "answer": answer, "item": item.question})
        if ballot.silent:
            return None, ballot.cost
        shares = [a.share for a in ballot.answers]
        share = sum(shares) / len(shares)
        value = item.weight * (-share if item.kind == "pitfall" else share)
        passed = share < 0.5 if item.kind == "pitfall" else share >= 0.5
        said = f"{ballot.answers[0].reason} (agreement {agreement(shares):.2f})"
        return Check(item.id, value, passed, said, item.kind, item.weight), ballot.cost
