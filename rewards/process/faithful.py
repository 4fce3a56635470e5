"""TRM: is each sentence faithful to the documents, and is it correct (paper 37)?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel

from agentrl.core import ChatModel, Check, Episode, Score
from agentrl.rewards.judges.judge import Judge
from agentrl.rewards.judges.template import Template
from agentrl.rewards.process.segments import By, numbered, pieces, place


class Sentence(BaseModel):
    """Faithfulness first, then reasoning, then correctness: the order makes the judge think."""

    number: int
    faithful: bool
    reasoning: str = ""
    correct: bool


class Sentences(BaseModel):
    """One entry for every numbered sentence."""

    sentences: list[Sentence]


READ = Template(
    "trm",
    "For every numbered sentence of an answer decide first whether the documents say it (faithful),"
    " then reason about it on your own, then decide whether it is correct. A faithful sentence may"
    " be incorrect, and the other way round.",
    "The question:\n{question}\n\nThe documents:\n{documents}\n\nThe sentences:\n{sentences}",
)


@dataclass(slots=True)
class Faithful:
    """Step reward of sentences: correct 1, else 0; value: their mean.

    Documents: what the tools answered, or `Task.payload["documents"]`. A vote that does not have
    one entry a sentence cannot be used; abstains when none can.
    """

    judge: ChatModel
    votes: int = 1
    by: By = "sentence"
    temperature: float = 0.0
    longest: int = 20_000
    name: str = "faithful"
    _asked: Judge[Sentences] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._asked = Judge(self.judge, READ, Sentences, self.votes, self.temperature)

    async def score(self, episode: Episode) -> Score:
        found = [p for p in pieces(episode, self.by) if p.turn == len(episode.turns) - 1]
        if not found:
            return Score(abstained=True, evidence="no answer")
        ballot = await self._asked.ask(
            {
                "question": episode.task.prompt,
                "documents": self._documents(episode),
                "sentences": numbered(found),
            }
        )
        votes = [v for a in ballot.answers if (v := _by_number(a, len(found))) is not None]
        if not votes:
            return Score(abstained=True, evidence=ballot.said, cost=ballot.cost)
        values, checks = [], []
        for n, piece in enumerate(found):
            correct = _share([v[n].correct for v in votes]) >= 0.5
            faithful = _share([v[n].faithful for v in votes]) >= 0.5
            values.append(float(correct))
            checks += [
                Check(
                    f"correct/{n + 1}",
                    float(correct),
                    correct,
                    votes[0][n].reasoning,
                    turn=piece.turn,
                ),
                Check(f"faithful/{n + 1}", float(faithful), faithful, turn=piece.turn),
            ]
        score = Score(_share(values), checks, evidence=ballot.said, cost=ballot.cost)
        return place(score, episode, found, values)

    def _documents(self, episode: Episode) -> str:
        given = episode.task.payload.get("documents")
        texts = (
            [str(d) for d in given]
            if isinstance(given, list)
            else [r.text for turn in episode.turns for r in turn.results]
        )
        return "\n\n".join(texts)[: self.longest] or "(none)"


def _share(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _by_number(answer: Sentences, count: int) -> list[Sentence] | None:
    ordered = sorted(answer.sentences, key=lambda s: s.number)
    return ordered if [s.number for s in ordered] == list(range(1, count + 1)) else None


def reward_model_reward(
    predicted: Sequence[tuple[bool, bool]],
    labels: Sequence[tuple[bool, bool]],
    alpha: float = 0.5,
    bonus: float = 0.5,
) -> float:
    """What a reward model in training earns for (faithful, correct) of each sentence.

    r_k = alpha [f^ = f] + (1 - alpha) [c^ = c] + bonus [c^ = c = wrong], averaged; 0 when the
    numbers of sentences differ. The bonus makes up for incorrect sentences being rare.
    """
    if len(predicted) != len(labels) or not labels:
        return 0.0
    total = 0.0
    for (f_hat, c_hat), (f, c) in zip(predicted, labels, strict=True):
        total += alpha * (f_hat == f) + (1 - alpha) * (c_hat == c) + bonus * (not c_hat and not c)
    return total / len(labels)
