"""The engine protocol: tokens in, tokens and behaviour log-probabilities out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np

FinishReason = Literal["stop", "length", "aborted"]


@dataclass(slots=True, frozen=True)
class Sampling:
    """How to draw tokens.

    There is no top-p and no top-k on purpose: both renormalise the behaviour distribution and
    so bias every importance ratio.

    Attributes:
        temperature: 0 is greedy. Log-probabilities are always of the untempered distribution.
        max_tokens: upper bound on the tokens of one generation.
        stop: ids that end a generation; the one that did is its last token.
    """

    temperature: float = 1.0
    max_tokens: int = 1024
    stop: tuple[int, ...] = ()


@dataclass(slots=True)
class Generation:
    """What the policy said.

    Attributes:
        tokens: int32[N], the sampled ids, the stop token included when one was sampled.
        logprobs: float32[N], log pi(token | context) at temperature 1, as sampled.
        weights: int32[N], version of the weights that drew each token.
        finish_reason: "stop" (a stop id was sampled), "length" (cut), "aborted".
    """

    tokens: np.ndarray
    logprobs: np.ndarray
    weights: np.ndarray
    finish_reason: FinishReason


@runtime_checkable
class Engine(Protocol):
    """Produces tokens for many conversations at once.

    `session` names a conversation: an engine may keep its KV cache between turns, as long as
    the tokens it is given extend those it has. `seed` makes one generation reproducible
    whatever else is in the batch. Raises `InfraError("engine_lost")` when it cannot go on.
    """

    async def generate(
        self,
        tokens: Sequence[int] | np.ndarray,
        sampling: Sampling,
        *,
        session: str = "",
        seed: int = 0,
    ) -> Generation: ...

    async def end_session(self, session: str) -> None:
        """The conversation is over: its cache may go."""
        ...

    async def close(self) -> None: ...
