"""Cooper: policy and reward model trained together (paper 32)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from pydantic import BaseModel
from torch.nn import functional

from agentrl.core import ChatModel, Episode, Group, Score
from agentrl.rewards.judges.template import Template
from agentrl.rewards.learned.base import Pair
from agentrl.rewards.learned.text_models import HashedText, SequenceClassifier
from agentrl.rewards.verifiers.base import Item, Verifier
from agentrl.rewards.verifiers.extract import answer_in, extract


class Rewritten(BaseModel):
    """A solution that ends in another answer."""

    solution: str


REWRITE = Template(
    "cooper_rewrite",
    "You turn a right solution into a wrong one of the same length and style: make one plausible"
    " mistake and carry it through to another final answer, in the same form.",
    "The question:\n{question}\n\nThe right solution:\n{solution}",
)


@dataclass(slots=True)
class RuleAndRewrite:
    """Pairs from a group: the first rollout that the rule accepts, and a rewriting of it that the
    rule rejects.

    The rule is precise and misses much, so its acceptances are trusted and its rejections are not:
    a rejected rollout is never a negative. Up to `tries` rewritings; one whose answer is still
    accepted is thrown away. A group that lacks either gives no pair.
    """

    rule: Verifier
    rewriter: ChatModel
    extract: str = "boxed"
    reference: str = "answer"
    tries: int = 3
    temperature: float = 0.7

    async def pairs(self, group: Group) -> list[Pair]:
        for episode in group.judged:
            if not episode.turns or self.reference not in episode.task.reference:
                continue
            wanted = episode.task.reference[self.reference]
            answer = extract(episode, self.extract)
            if answer is not None and await self._accepts(episode, answer, wanted):
                worse = await self._negative(episode, wanted)
                text = episode.turns[-1].text
                return [Pair(episode.task.prompt, text, worse, str(wanted))] if worse else []
        return []

    async def _accepts(self, episode: Episode, answer: str, wanted: Any) -> bool:
        found = await self.rule.verify(Item(episode.task.prompt, answer, wanted))
        return not found.abstained and found.value >= 0.5

    async def _negative(self, episode: Episode, wanted: Any) -> str | None:
        solution = episode.turns[-1].text
        messages = REWRITE.render({"question": episode.task.prompt, "solution": solution})
        for seed in range(self.tries):
            reply = await self.rewriter.chat(
                messages, schema=Rewritten, temperature=self.temperature, seed=seed
            )
            if not isinstance(reply.parsed, Rewritten):
                continue
            answer = answer_in(reply.parsed.solution, self.extract)
            if answer is not None and not await self._accepts(episode, answer, wanted):
                return reply.parsed.solution
        return None


@dataclass(slots=True)
class Cooper:
    """A reward model on (question, reference, completion), reward sigmoid(logit) in [0, 1].

    After every policy update it takes one step on
        -(sum_i v_i log sigmoid(s+_i - s-_i)) / (sum_i v_i + 1e-6)
    over the groups' pairs (v_i = 0 where a group gives none), so that a string that fools it is
    unlearned as soon as a negative holds it.

    Attributes:
        source: makes the pairs; None leaves the model as it is.
        path: a sequence classifier to start from; "" is a small one of hashed words.
    """

    source: RuleAndRewrite | None = None
    path: str = ""
    learning_rate: float = 1e-5
    threshold: float | None = None
    reference: str = "answer"
    name: str = "cooper"
    model: torch.nn.Module = field(init=False, repr=False)
    _optimizer: torch.optim.Optimizer = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.model = SequenceClassifier(self.path) if self.path else HashedText()
        self._optimizer = torch.optim.Adam(self.model.parameters(), lr=self.learning_rate)

    async def score(self, episode: Episode) -> Score:
        if not episode.turns:
            return Score(abstained=True, evidence="no answer")
        wanted = str(episode.task.reference.get(self.reference, ""))
        (value,) = self.values([_joined(episode.task.prompt, wanted, episode.turns[-1].text)])
        return Score(value if self.threshold is None else float(value >= self.threshold))

    def values(self, texts: Sequence[str]) -> list[float]:
        with torch.no_grad():
            return torch.sigmoid(self.model(texts)).tolist()

    async def learn(self, groups: Sequence[Group]) -> dict[str, float]:
        if self.source is None:
            return {}
        found = await asyncio.gather(*(self.source.pairs(group) for group in groups))
        return self.update([pair for pairs in found for pair in pairs])

    def update(self, pairs: Sequence[Pair]) -> dict[str, float]:
        """One step on pairs; without any, nothing moves and the loss is 0."""
        if not pairs:
            return {"loss": 0.0, "pairs": 0.0}
        better = self.model([_joined(p.question, p.reference, p.better) for p in pairs])
        worse = self.model([_joined(p.question, p.reference, p.worse) for p in pairs])
        loss = pair_loss(better, worse, torch.ones_like(better))
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        margin = float((better > worse).float().mean())
        return {"loss": float(loss.detach()), "pairs": float(len(pairs)), "accuracy": margin}

    def state_dict(self) -> dict[str, Any]:
        return {"model": self.model.state_dict(), "optimizer": self._optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])


def pair_loss(better: torch.Tensor, worse: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Bradley-Terry over valid pairs; exactly 0, without a gradient, when none is valid."""
    losses = functional.logsigmoid(better - worse) * valid
    return -losses.sum() / (valid.sum() + 1e-6)


def _joined(question: str, reference: str, completion: str) -> str:
    return f"{question}\n[reference] {reference}\n[completion] {completion}"
