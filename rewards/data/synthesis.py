"""Generate, verify, filter, rebalance: questions with their rubric's blessing (paper 11)."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel, Field

from agentrl.core import ChatModel, Check, CheckKind, Message, Task
from agentrl.rewards.combine import checklist
from agentrl.rewards.data.options import LETTERS, listed, rebalanced
from agentrl.rewards.judges.template import Template
from agentrl.rewards.verifiers.text import normalise

ESSENTIAL = (
    "the question can be understood without the source",
    "it uses the source's vocabulary only",
    "it does not give its answer away",
    "exactly one option is right",
    "all options are of one kind",
    "it is valid in its field",
    "it agrees with the source",
)


class Question(BaseModel):
    """One multiple-choice question."""

    stem: str
    options: list[str] = Field(min_length=2, max_length=10)
    answer: str = Field(pattern="^[A-J]$")
    rationale: str = ""


class RubricScore(BaseModel):
    """One item of the verifier's rubric with the score it gives; a pitfall's score is negative."""

    title: str
    category: CheckKind
    weight: float
    score: float


class Review(BaseModel):
    """The rubric that a verifier wrote for a question, filled in."""

    items: list[RubricScore]


WRITE = Template(
    "synthesis_write",
    "You write one multiple-choice question of five parallel options on a source, its answer's"
    " letter and the reason.",
    "The source:\n{source}",
)
REVIEW = Template(
    "synthesis_review",
    "You review a multiple-choice question against its source. Fill in every essential item, with"
    " exactly these titles: "
    + "; ".join(ESSENTIAL)
    + ". Add positive items and pitfalls that you see."
    " An item's score is at most its weight; a pitfall's is negative.",
    "The source:\n{source}\n\nThe question:\n{question}",
)


@dataclass(slots=True)
class Synthesise:
    """From tasks whose prompt is a source to multiple-choice tasks that a verifier accepted.

    Accepted: every essential item is there with its full weight and the normalised score reaches
    `threshold` (0.90). A review that cannot be read rejects; it never passes as a score. Afterwards
    right letters are evened out. `rates` holds what came of the last call.
    """

    writer: ChatModel
    reviewer: ChatModel
    threshold: float = 0.9
    name: str = "synthesise"
    rates: dict[str, float] = field(default_factory=dict)

    async def transform(self, tasks: Sequence[Task], rng: random.Random) -> list[Task]:
        found = await asyncio.gather(*(self._one(task) for task in tasks))
        kept = [task for task in found if task is not None]
        self.rates = {"accepted": len(kept) / len(tasks) if tasks else 0.0}
        return rebalanced(kept, rng)

    async def _one(self, task: Task) -> Task | None:
        written = await self.writer.chat(WRITE.render({"source": task.prompt}), schema=Question)
        question = written.parsed
        if not isinstance(question, Question):
            return None
        if question.answer not in LETTERS[: len(question.options)]:
            return None
        asked: list[Message] = REVIEW.render(
            {"source": task.prompt, "question": question.model_dump_json()}
        )
        reviewed = await self.reviewer.chat(asked, schema=Review)
        if not isinstance(reviewed.parsed, Review) or not accepted(reviewed.parsed, self.threshold):
            return None
        return Task(
            f"{task.id}/question",
            f"{question.stem}\n\n{listed(question.options)}",
            task.environment,
            {"question": question.stem, "options": question.options},
            {"answer": question.answer},
            {"source": task.id},
        )


def accepted(review: Review, threshold: float = 0.9) -> bool:
    """Whether every essential title is there in full and the whole reaches the threshold."""
    checks = [Check(i.title, i.score, kind=i.category, weight=i.weight) for i in review.items]
    titles = {normalise(c.name) for c in checks if c.kind == "essential"}
    if not {normalise(t) for t in ESSENTIAL} <= titles:
        return False
    score = checklist(checks, gate=True, threshold=threshold)
    return not score.abstained and score.value >= threshold


def overlap(tasks: Sequence[Task], held_out: Sequence[Task], n: int = 8) -> float:
    """Share of tasks that have a run of `n` words in common with a held-out one."""

    def grams(text: str) -> set[tuple[str, ...]]:
        words = normalise(text).split()
        return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}

    seen = {g for task in held_out for g in grams(task.prompt)}
    return sum(bool(grams(t.prompt) & seen) for t in tasks) / len(tasks) if tasks else 0.0
