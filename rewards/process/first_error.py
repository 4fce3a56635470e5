"""OPV: summarise a long trace to key steps, then find the first wrong one (paper 12)."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from pydantic import BaseModel, Field

from agentrl.core import ChatModel, Check, Episode, Score
from agentrl.rewards.judges.judge import Judge
from agentrl.rewards.judges.template import Template
from agentrl.rewards.process.segments import By, numbered, pieces, place
from agentrl.rewards.verifiers.base import Item
from agentrl.rewards.verifiers.text import normalise

NONE = -1
"""The index of the first error of a solution without one."""


class FirstError(BaseModel):
    """The number of the first wrong step, -1 when all are right."""

    explanation: str = ""
    first_wrong: int = Field(ge=-1)


class Summary(BaseModel):
    """The key steps of a long chain of thought in order, and the answer it ends with."""

    steps: list[str]
    answer: str


LOCATE = Template(
    "opv_locate",
    "You verify a solution given as numbered steps. Follow it from the start and stop at the first"
    " step that is wrong. Answer -1 when every step is right.",
    "The task:\n{task}\n\nThe numbered steps:\n{steps}",
)
SUMMARISE = Template(
    "opv_summarise",
    "Rewrite a long chain of thought as the short straight line of key steps that leads to its"
    " final answer. Keep its mistakes. Leave out detours that the final answer does not rest on.",
    "The task:\n{task}\n\nThe chain of thought:\n{trace}",
)


@dataclass(slots=True)
class FirstErrorJudge:
    """`votes` verifications of one solution; each is the number of the first wrong step or -1.

    v = share of -1 votes (how right), u = 1 - share of the most frequent vote (how uncertain: what
    active learning asks experts about).
    """

    judge: ChatModel
    votes: int = 8
    temperature: float = 0.7
    name: str = "first_error"
    _judge: Judge[FirstError] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._judge = Judge(self.judge, LOCATE, FirstError, self.votes, self.temperature)

    async def locate(self, task: str, steps: str, count: int) -> tuple[list[int], float, str]:
        """(readable votes, cost, what was said); numbers beyond `count` are not readable."""
        ballot = await self._judge.ask({"task": task, "steps": steps})
        votes = [a.first_wrong for a in ballot.answers]
        return [v for v in votes if v == NONE or 1 <= v <= count], ballot.cost, ballot.said

    async def verify(self, item: Item) -> Score:
        """As a verifier: the answer is the solution, one paragraph a step; value v."""
        steps = [s for s in item.answer.split("\n\n") if s.strip()]
        text = "\n\n".join(f"[{n}] {s}" for n, s in enumerate(steps, 1))
        votes, cost, said = await self.locate(item.question, text, len(steps))
        if not votes:
            return Score(abstained=True, evidence=said, cost=cost)
        v, u = rightness(votes), uncertainty(votes)
        checks = [Check("uncertainty", u), Check("first_error", float(most_frequent(votes)))]
        return Score(v, checks, evidence=f"votes {votes}", cost=cost)


@dataclass(slots=True)
class ProcessVerified:
    """The first-error judge as a step reward: `good` before the first error, `bad` at it, 0 after.

    Value: v. The first error is the most frequent vote. A check `flawed` says that there is one,
    which is the flag of the learner's `fapo`.
    """

    judge: ChatModel
    votes: int = 8
    by: By = "turn"
    good: float = 1.0
    bad: float = -1.0
    temperature: float = 0.7
    name: str = "process_verified"
    _locate: FirstErrorJudge = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._locate = FirstErrorJudge(self.judge, self.votes, self.temperature)

    async def score(self, episode: Episode) -> Score:
        found = pieces(episode, self.by)
        if not found:
            return Score(abstained=True, evidence="no steps")
        votes, cost, said = await self._locate.locate(
            episode.task.prompt, numbered(found), len(found)
        )
        if not votes:
            return Score(abstained=True, evidence=said, cost=cost)
        first = most_frequent(votes)
        values = step_values(len(found), first, self.good, self.bad)
        checks = [
            Check("uncertainty", uncertainty(votes)),
            Check("first_error", float(first)),
            Check("flawed", float(first != NONE), passed=first != NONE),
        ]
        score = Score(rightness(votes), checks, evidence=f"votes {votes}", cost=cost)
        return place(score, episode, found, values)


def step_values(steps: int, first: int, good: float = 1.0, bad: float = -1.0) -> list[float]:
    """`good` before the first error (numbered from 1, -1 for none), `bad` at it, 0 after it."""
    if first == NONE:
        return [good] * steps
    return [good if n < first else bad if n == first else 0.0 for n in range(1, steps + 1)]


def rightness(votes: Sequence[int]) -> float:
    """v: the share of verifications without an error."""
    return sum(vote == NONE for vote in votes) / len(votes)


def uncertainty(votes: Sequence[int]) -> float:
    """u = 1 - max_l count(l) / K."""
    return 1.0 - max(Counter(votes).values()) / len(votes)


def most_frequent(votes: Sequence[int]) -> int:
    """Ties go to the vote that came first."""
    return Counter(votes).most_common(1)[0][0]


def verifier_reward(predicted: int, label: int, kind: Literal["exact", "soft"] = "exact") -> float:
    """What a verifier in training earns: [l^ = l]; soft: exp(-|l^ - l|) when both are errors."""
    if predicted == label:
        return 1.0
    if kind == "exact" or NONE in (predicted, label):
        return 0.0
    return math.exp(-abs(predicted - label))


def weighted_vote(answers: Sequence[str], rightnesses: Sequence[float]) -> str:
    """argmax over answers of the sum of v over the solutions that give it; first seen on a tie."""
    total: dict[str, float] = defaultdict(float)
    for answer, v in zip(answers, rightnesses, strict=True):
        total[answer] += v
    return max(total, key=total.__getitem__)


async def summarise(
    model: ChatModel, task: str, trace: str, answer: str, tries: int = 3
) -> list[str] | None:
    """The key steps of a trace; a summary whose answer is another than the trace's is asked for
    again, and None after `tries`."""
    for seed in range(tries):
        reply = await model.chat(
            SUMMARISE.render({"task": task, "trace": trace}), schema=Summary, seed=seed
        )
        if isinstance(reply.parsed, Summary) and normalise(reply.parsed.answer) == normalise(
            answer
        ):
            return reply.parsed.steps
    return None
