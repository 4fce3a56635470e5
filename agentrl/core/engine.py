"""The engine protocol: tokens in, tokens and behaviour log-probabilities out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from agentrl.core.chat import TokenScores
from agentrl.core.images import PlacedImage

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
    whatever else is in the batch. `images` say what stands at the image tokens. Raises
    `InfraError("engine_lost")` when it cannot go on, and `ConfigError` when it is asked for what
    its kind does not have (a script has no weights, a text model has no eyes).
    """

    @property
    def version(self) -> int:
        """Version of the weights that sample now; -1 when they are not of this run."""
        ...

    @property
    def sessions(self) -> Collection[str]:
        """Conversations that have begun and not ended."""
        ...

    async def generate(
        self,
        tokens: Sequence[int] | np.ndarray,
        sampling: Sampling,
        *,
        session: str = "",
        seed: int = 0,
        images: Sequence[PlacedImage] = (),
    ) -> Generation: ...

    async def score(
        self,
        tokens: Sequence[int] | np.ndarray,
        start: int = 1,
        *,
        entropy: bool = False,
        hidden: bool = False,
        images: Sequence[PlacedImage] = (),
    ) -> TokenScores:
        """Scores of tokens[start:], each given all that stands before it, under the current
        weights at temperature 1. Calls that wait at the same time are computed together."""
        ...

    async def load_weights(
        self, version: int, weights: Mapping[str, Any] | Path | None = None
    ) -> None:
        """From here on tokens are drawn from these weights and carry `version`.

        Atomic between steps. Generations in flight keep what they have and go on under the new
        weights; nothing that the old weights computed is used for a token of the new ones.

        Args:
            weights: tensors by their name in the model, all of them; or a model directory; None
                when the engine shares the tensors in memory and they have changed in place.

        Raises:
            ModelError: names or shapes that are not the model's; the old weights stay.
        """
        ...

    async def end_session(self, session: str) -> None:
        """The conversation is over: its cache may go."""
        ...

    async def close(self) -> None: ...
