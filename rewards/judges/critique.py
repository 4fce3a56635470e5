"""RM-NLHF: a judge's critique is worth what it shares with a person's (paper 69)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel, Field

from agentrl.core import ChatModel, Check, Score
from agentrl.rewards.judges.judge import Judge
from agentrl.rewards.judges.template import Template


class Matched(BaseModel):
    """The core arguments of both critiques, and which are the same: pairs of numbers from 1."""

    human: list[str]
    model: list[str]
    same: list[tuple[int, int]] = Field(default_factory=list)


MATCH = Template(
    "rm_nlhf",
    "Two critiques compare the same two answers. List the core arguments of each (those its verdict"
    " rests on), then the pairs of numbers that make the same point. Each argument is in one pair"
    " at the most.",
    "The person's critique:\n{human}\n\nThe model's critique:\n{model}",
)


@dataclass(slots=True)
class CritiqueReward:
    """R = [l^ = l] + lambda * F1(core arguments), for a judge in training.

    With `gated` the second term counts only when the label is right: a nice critique with a wrong
    verdict earns nothing.
    """

    judge: ChatModel
    weight: float = 1.0
    gated: bool = True
    name: str = "critique"
    _asked: Judge[Matched] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._asked = Judge(self.judge, MATCH, Matched)

    async def reward(self, right: bool, human: str, model: str) -> Score:
        """Of one critique; abstains when the judge cannot be read."""
        if not right and self.gated:
            return Score(0.0, [Check("label", 0.0, False)], evidence="the label is wrong")
        ballot = await self._asked.ask({"human": human, "model": model})
        if ballot.silent:
            return Score(abstained=True, evidence=ballot.said, cost=ballot.cost)
        found = ballot.answers[0]
        pairs = _one_to_one(found.same, len(found.human), len(found.model))
        process = argument_f1(pairs, len(found.human), len(found.model))
        checks = [Check("label", float(right), right), Check("arguments", process)]
        return Score(float(right) + self.weight * process, checks, cost=ballot.cost)


def _one_to_one(pairs: Sequence[tuple[int, int]], human: int, model: int) -> int:
    left, right = set[int](), set[int]()
    for a, b in pairs:
        if 1 <= a <= human and 1 <= b <= model and a not in left and b not in right:
            left.add(a)
            right.add(b)
    return len(left)


def argument_f1(same: int, human: int, model: int) -> float:
    """F1 of matched arguments: precision same / model, recall same / human."""
    return 2.0 * same / (human + model) if same else 0.0


def inconsistency(right_labels: Sequence[bool], right_critiques: Sequence[bool]) -> float:
    """P(critique wrong | label right): how often a judge is right for the wrong reason."""
    wrong = [not c for label, c in zip(right_labels, right_critiques, strict=True) if label]
    return sum(wrong) / len(wrong) if wrong else 0.0
