"""CAPO: a judge names the wrong steps, and only they lose credit (paper 41)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel, Field

from agentrl.core import ChatModel, Check, Episode, Reward, Score
from agentrl.rewards.judges.judge import Judge
from agentrl.rewards.judges.template import Template
from agentrl.rewards.judges.votes import SetRule, decide_sets
from agentrl.rewards.process.segments import By, numbered, pieces, place


class WrongSteps(BaseModel):
    """Numbers of the steps that contain an error, each with why."""

    critique: str = ""
    wrong: list[int] = Field(default_factory=list)


CRITIQUE = Template(
    "capo",
    "You check a solution step by step against the right answer. Name every step that states or"
    " does something wrong, or that follows from a wrong one without mending it. A step that is"
    " merely unnecessary is not wrong.",
    "The task:\n{task}\n\nThe right answer:\n{reference}\n\nThe numbered steps:\n{steps}",
)


@dataclass(slots=True)
class Capo:
    """R_t = whole * outcome - process * [t in a wrong step]: tiers 2 / 1 / 0 / -1.

    `whole` > `process` keeps a flawed success above a clean failure. One judge pass over all steps,
    `votes` of them (4), joined by `rule`: intersection suits small policies. A judge that cannot
    be read at all leaves every step unpunished and says so in a check. The value is the outcome's
    part alone. Learn from it with channel {source: steps, by: [group]}.

    Attributes:
        outcome: 0/1 reward of the whole (abstains with it).
        reference: key of `Task.reference`.
    """

    outcome: Reward
    judge: ChatModel
    votes: int = 4
    rule: SetRule = "majority"
    by: By = "turn"
    whole: float = 2.0
    process: float = 1.0
    temperature: float = 0.7
    reference: str = "answer"
    name: str = "capo"
    _asked: Judge[WrongSteps] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._asked = Judge(self.judge, CRITIQUE, WrongSteps, self.votes, self.temperature)

    @property
    def parts(self) -> Sequence[Reward]:
        return [self.outcome]

    async def combine(self, episode: Episode, scores: Sequence[Score]) -> Score:
        (outcome,) = scores
        if outcome.abstained:
            return Score(abstained=True, evidence="the outcome abstained")
        found = pieces(episode, self.by)
        if not found:
            return Score(self.whole * outcome.value, evidence="no steps")
        ballot = await self._asked.ask(
            {
                "task": episode.task.prompt,
                "reference": episode.task.reference.get(self.reference, "(not known)"),
                "steps": numbered(found),
            }
        )
        wrong = decide_sets([vote.wrong for vote in ballot.answers], self.rule)
        values = credit(len(found), outcome.value, wrong, self.whole, self.process)
        checks = [Check("judge_read", float(not ballot.silent), not ballot.silent, ballot.said)]
        checks += [
            Check(f"step/{n}", float(n not in wrong), n not in wrong, turn=piece.turn)
            for n, piece in enumerate(found, 1)
        ]
        score = Score(self.whole * outcome.value, checks, evidence=ballot.said, cost=ballot.cost)
        return place(score, episode, found, values)

    async def score(self, episode: Episode) -> Score:
        return await self.combine(episode, [await self.outcome.score(episode)])


def credit(
    steps: int, outcome: float, wrong: set[int], whole: float = 2.0, process: float = 1.0
) -> list[float]:
    """The reward of each step, numbered from 1; numbers beyond the steps are ignored."""
    return [whole * outcome - process * (n in wrong) for n in range(1, steps + 1)]
