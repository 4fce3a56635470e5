"""A judge: a question to a chat model, asked several times, with an answer that has a schema."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

from pydantic import BaseModel

from agentrl.core import ChatModel, ChatReply, Image, InfraError, derive_seed
from agentrl.rewards.judges.template import Template

Answer = TypeVar("Answer", bound=BaseModel)


@dataclass(slots=True)
class Ballot(Generic[Answer]):
    """The votes of one question.

    Attributes:
        answers: those that could be read; `unread` says why the others could not.
        replies: all of them as they came.
    """

    answers: list[Answer]
    unread: list[str]
    replies: list[ChatReply] = field(default_factory=list)

    @property
    def cost(self) -> float:
        return sum(reply.cost for reply in self.replies)

    @property
    def silent(self) -> bool:
        """No vote could be read: who asked abstains."""
        return not self.answers

    @property
    def said(self) -> str:
        """For `Score.evidence`: how many votes were read, and what was wrong with the others."""
        total = len(self.answers) + len(self.unread)
        text = f"{len(self.answers)} of {total} votes read"
        return f"{text} ({self.unread[0][:120]})" if self.unread else text


@dataclass(slots=True)
class Judge(Generic[Answer]):
    """Asks `model` with `template` for an answer of `schema`, `votes` times.

    The votes of a question and all questions of a batch go out at once; the model limits how many
    are in flight, keeps the cache and counts the money. The same question with the same vote
    number has the same seed, so a cache answers it.

    Attributes:
        outages: "raised" by the first vote that the model cannot be reached for, or "left out":
            that vote is unread, and only when it befalls all is it raised.
    """

    model: ChatModel
    template: Template
    schema: type[Answer]
    votes: int = 1
    temperature: float = 0.0
    max_tokens: int = 1024
    outages: Literal["raised", "left out"] = "raised"

    async def ask(
        self, given: Mapping[str, object], images: Sequence[Image] = ()
    ) -> Ballot[Answer]:
        """Every vote on one question, with images beside it. Raises `InfraError`, see `outages`."""
        messages = self.template.render(given)
        messages[-1].images = list(images)
        outcomes = await asyncio.gather(
            *(
                self.model.chat(
                    messages,
                    schema=self.schema,
                    temperature=self.temperature,
                    max_tokens=self.max_tokens,
                    seed=derive_seed(0, self.template.name, vote),
                )
                for vote in range(self.votes)
            ),
            return_exceptions=self.outages == "left out",
        )
        failed = [o for o in outcomes if isinstance(o, BaseException)]
        for error in failed:
            if not isinstance(error, InfraError) or len(failed) == len(outcomes):
                raise error
        replies = [o for o in outcomes if isinstance(o, ChatReply)]
        answers = [r.parsed for r in replies if isinstance(r.parsed, self.schema)]
        unread = [
            r.problem or f"no {self.schema.__name__} in {r.text[:80]!r}"
            for r in replies
            if not isinstance(r.parsed, self.schema)
        ]
        return Ballot(answers, unread + [str(error) for error in failed], replies)

    async def ask_all(self, many: Sequence[Mapping[str, object]]) -> list[Ballot[Answer]]:
        """Many questions at once, in their order."""
        return list(await asyncio.gather(*(self.ask(given) for given in many)))


async def verdict_probability(
    model: ChatModel,
    template: Template,
    given: Mapping[str, object],
    yes: Sequence[str] = ("1", "yes"),
    no: Sequence[str] = ("0", "no"),
) -> tuple[bool | None, float, ChatReply]:
    """A one-token verdict and its probability (paper 22).

    Returns:
        (verdict, P(that verdict's token), reply). The verdict is None when the answer's first
        word is neither; the probability is 1 where the model gives none.
    """
    reply = await model.chat(template.render(given), max_tokens=4, first_token=10)
    words = reply.text.strip().lower().split()
    word = words[0].strip(".,:;") if words else ""
    verdict = True if word in yes else False if word in no else None
    wanted = yes if verdict else no
    mass = sum(
        math.exp(logprob)
        for token, logprob in reply.first_token.items()
        if token.strip().lower() in wanted
    )
    return verdict, min(mass, 1.0) if reply.first_token else 1.0, reply
