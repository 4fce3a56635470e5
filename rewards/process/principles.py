"""PPR: step scores by principles, normalised with the outcome (paper 36, arXiv 2509.25598)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from pydantic import BaseModel, Field

from agentrl.core import ChatModel, Check, Episode, Reward, Score
from agentrl.rewards.judges.judge import Judge
from agentrl.rewards.judges.template import Template
from agentrl.rewards.process.segments import numbered, pieces

Mode = Literal["sum", "center", "renorm"]


class PrincipleScore(BaseModel):
    """A step's score out of the most that its principles allow."""

    number: int
    principles: list[str] = Field(default_factory=list)
    score: float = Field(ge=0)
    most: float = Field(gt=0)


class StepScores(BaseModel):
    """One entry for every numbered step."""

    steps: list[PrincipleScore]


SCORE = Template(
    "ppr",
    "For every numbered step of an agent write the principles by which such a step is good (is the"
    " search query precise, does the step use what was found, does it advance the task), then a"
    " score and the highest score that was possible. A later step is not better for being later.",
    "The task:\n{task}\n\nThe numbered steps:\n{steps}",
)


@dataclass(slots=True)
class ProcessReward:
    """A judge's p_t in [0, 1] for every turn, joined with the outcome o in [0, 1].

    See `renorm` for the modes. Steps: the reward of each turn; value: the outcome. Learn from the
    steps alone ({source: steps}): the last one holds the outcome already. Steps that the judge
    left out, or a ballot that cannot be read, abstain.

    Attributes:
        answered: key of `Episode.outcome` that says whether the last turn is the answer (and gets o
            itself); "" when it always is.
    """

    outcome: Reward
    judge: ChatModel
    mode: Mode = "renorm"
    answered: str = ""
    votes: int = 1
    temperature: float = 0.0
    name: str = "process"
    _asked: Judge[StepScores] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._asked = Judge(self.judge, SCORE, StepScores, self.votes, self.temperature)

    @property
    def parts(self) -> Sequence[Reward]:
        return [self.outcome]

    async def combine(self, episode: Episode, scores: Sequence[Score]) -> Score:
        (outcome,) = scores
        found = pieces(episode)
        if outcome.abstained or not found:
            return Score(abstained=outcome.abstained, value=outcome.value, evidence="no steps")
        ballot = await self._asked.ask({"task": episode.task.prompt, "steps": numbered(found)})
        votes = [p for a in ballot.answers if (p := _shares(a, len(found))) is not None]
        if not votes:
            return Score(abstained=True, evidence=ballot.said, cost=ballot.cost)
        p = [sum(vote[t] for vote in votes) / len(votes) for t in range(len(found))]
        checks = [Check(f"principle/{t}", value, turn=t) for t, value in enumerate(p)]
        answered = not self.answered or bool(episode.outcome.get(self.answered))
        steps = renorm(p, outcome.value, self.mode, answered=answered)
        return Score(outcome.value, checks, steps, evidence=ballot.said, cost=ballot.cost)

    async def score(self, episode: Episode) -> Score:
        return await self.combine(episode, [await self.outcome.score(episode)])


def _shares(answer: StepScores, count: int) -> list[float] | None:
    ordered = sorted(answer.steps, key=lambda s: s.number)
    if [s.number for s in ordered] != list(range(1, count + 1)):
        return None
    return [min(s.score / s.most, 1.0) for s in ordered]


def renorm(
    p: Sequence[float], outcome: float, mode: Mode = "renorm", *, answered: bool = True
) -> list[float]:
    """Rewards of the steps of an episode.

        renorm  p_t + o - 1: both lose 1/2, so that only a good step of a good episode is positive
        center  p_t - 1/2, whatever the outcome
        sum     p_t

    With `answered` the last step is the answer and gets the outcome o itself. Under `renorm` a
    failed episode sums to at most 0 however many steps it has; under `sum` it gains by each.
    """
    shift = {"renorm": outcome - 1.0, "center": -0.5, "sum": 0.0}[mode]
    steps = [x + shift for x in p]
    if answered and steps:
        steps[-1] = outcome
    return steps
