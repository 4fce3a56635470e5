"""What rooms share about models that are asked in words: judges, teachers, simulators.

A reward or a tool asks a `ChatModel`; the engine room implements it (litellm, an embedded engine, a
script). A `Scorer` says how probable given tokens are under the policy's weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from pydantic import BaseModel

from agentrl.core.messages import Message


@dataclass(slots=True, frozen=True)
class ChatReply:
    """An answer of a chat model.

    Attributes:
        text: the answer.
        parsed: the answer as the schema that was asked for; None when none was, or when the text
            does not hold it (then `problem` says why). Who asked decides whether that abstains.
        first_token: log-probabilities of the first answer token's alternatives by their text;
            empty when they were not asked for or the model does not give them.
        cost: in US dollars; 0 where it is not known.
        cached: it came from a cache: nothing was sent and nothing was spent.
    """

    text: str
    parsed: BaseModel | None = None
    problem: str = ""
    first_token: Mapping[str, float] = field(default_factory=dict)
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float = 0.0
    cached: bool = False
    seconds: float = 0.0


@runtime_checkable
class ChatModel(Protocol):
    """Answers a conversation.

    Raises `InfraError("judge_down")` when it cannot be reached within its retries, and
    `InfraError("budget_spent")` when its limit on spending is used up: neither is a verdict.
    """

    name: str

    async def chat(
        self,
        messages: Sequence[Message],
        *,
        schema: type[BaseModel] | None = None,
        temperature: float = 0.0,
        max_tokens: int = 1024,
        seed: int = 0,
        first_token: int = 0,
    ) -> ChatReply:
        """One answer.

        Args:
            schema: the answer is to be JSON of this pydantic model.
            seed: part of the cache key: different seeds are independent votes.
            first_token: how many alternatives of the first answer token to report.
        """
        ...


@dataclass(slots=True)
class TokenScores:
    """How a model sees given tokens, one entry a scored token (N of them).

    Attributes:
        logprobs: float32[N], log pi(token | what stands before it) at temperature 1.
        entropy: float32[N] in nats, of the distribution the token was drawn from; None if not
            asked for.
        hidden: float32[N, H], the last hidden state that predicts the token; None if not asked for.
    """

    logprobs: np.ndarray
    entropy: np.ndarray | None = None
    hidden: np.ndarray | None = None


@runtime_checkable
class Scorer(Protocol):
    """Scores forced tokens and forced text under a model's current weights."""

    async def score(
        self,
        tokens: Sequence[int] | np.ndarray,
        start: int = 1,
        *,
        entropy: bool = False,
        hidden: bool = False,
    ) -> TokenScores:
        """Scores of tokens[start:], each given all that stands before it. `start` >= 1."""
        ...

    def encode(self, text: str) -> list[int]:
        """Token ids of plain text, to be appended to a context."""
        ...
