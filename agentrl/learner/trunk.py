"""Models as the learner sees them: hidden states of packed rows, a language head, a value head."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol

import numpy as np
import torch

from agentrl.core import ConfigError
from agentrl.learner.pack import MicroBatch, pack
from agentrl.learner.rows import Row
from agentrl.learner.settings import LearnerSettings
from agentrl.models.attention import (
    NAME,
    own_attention,
    set_attention,
    use_packed_attention,
    why_one_by_one,
)
from agentrl.models.heads import language_head, load_scorer
from agentrl.models.language import decoder, hidden_states
from agentrl.models.llama import decode, why_slow
from agentrl.models.logprobs import token_logprobs
from agentrl.models.vision import Vision, embed

Tensor = torch.Tensor


class HasModel(Protocol):
    """Anything that holds a transformers causal model, such as `agentrl.models.Policy`."""

    @property
    def model(self) -> Any: ...


def vision_of(policy: HasModel) -> Vision | None:
    """How a policy sees; None when it reads text only."""
    vision: Vision | None = getattr(policy, "vision", None)
    return vision


class Trunk:
    """Runs micro-batches through a causal model; holds no state of its own.

    Args:
        vision: how the policy sees images; None when it reads text only.
    """

    def __init__(self, model: Any, settings: LearnerSettings, vision: Vision | None = None) -> None:
        self.model, self.vision, self._s = model, vision, settings
        self.one_by_one = why_one_by_one(model)
        self.slow = self.one_by_one or ("it autocasts" if settings.autocast else why_slow(model))
        if decoder(model).config._attn_implementation != NAME:
            use_packed_attention(model)

    @property
    def head(self) -> torch.nn.Module:
        return language_head(self.model)

    @property
    def device(self) -> torch.device:
        return next(iter(self.model.parameters())).device

    def pack(self, rows: Sequence[Row], *, min_shared: int | None = None) -> MicroBatch:
        """Rows laid out for `hidden`; see `agentrl.learner.pack.pack`."""
        seeing = any(row.images for row in rows)
        positions = self._positions if seeing else None
        return pack(rows, self.device, min_shared=min_shared, positions_of=positions)

    def _positions(self, row: Row) -> np.ndarray:
        return self._eyes.positions(self.model, row.tokens, row.images)

    @property
    def _eyes(self) -> Vision:
        if self.vision is None:
            raise ConfigError(
                "episodes with images for a model that reads text only",
                where="learner",
                fix="train the vision-language model that sampled them, and take critics and "
                "references that are copies of it",
            )
        return self.vision

    def hidden(self, batch: MicroBatch) -> Tensor:
        """[T, d], the final hidden state of every packed token."""
        if not self.slow:
            return decode(self.model.base_model, batch.tokens, batch.position, batch.forest)
        with self._autocast(), self._attention():
            embeds = self._embeds(batch) if batch.images else None
            return hidden_states(self.model, batch.tokens, batch.position, batch.forest, embeds)

    def _embeds(self, batch: MicroBatch) -> Tensor:
        """[T, d], with the vision tower's features, and its gradient, at the image tokens."""
        features = self._eyes.features(self.model, [p.image for p in batch.images])
        where = torch.from_numpy(self._eyes.filled(batch.images)).to(self.device)
        return embed(self.model, batch.tokens, where, features)

    def _autocast(self) -> AbstractContextManager[Any]:
        cast = self._s.autocast
        if not cast:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=getattr(torch, cast))

    @contextmanager
    def _attention(self) -> Iterator[None]:
        """Rows that go alone go through the attention that transformers gives the model."""
        if not self.one_by_one:
            yield
            return
        set_attention(self.model, own_attention(self.model))
        try:
            yield
        finally:
            set_attention(self.model, NAME)

    def score(self, hidden: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probability of `target` and entropy, [N] each, from the states [N, d] before it."""
        return token_logprobs(hidden, self.head, target, logit_budget=self._s.logit_budget)

    def logprobs(self, batch: MicroBatch) -> tuple[Tensor, Tensor]:
        """Log-probability and entropy, [N] each, of the trained tokens."""
        return self.score(self.hidden(batch).index_select(0, batch.where), batch.target)


class ValueModel:
    """V(state) for the states before trained tokens, starting at zero everywhere (or at the
    scores of a reward model)."""

    def __init__(self, trunk: Trunk, settings: LearnerSettings) -> None:
        assert settings.critic is not None
        self._own = settings.critic.kind == "model"
        scores = None
        if self._own and settings.critic.path:
            model, scores = load_scorer(settings.critic.path, trunk.model)
            trunk = Trunk(model, settings)
        elif self._own:
            copied = copy.deepcopy(trunk.model).requires_grad_(True)
            trunk = Trunk(copied, settings, trunk.vision)
        self.trunk = trunk
        weight = trunk.model.get_input_embeddings().weight
        self.head = torch.nn.Linear(weight.shape[1], 1, device=weight.device, dtype=weight.dtype)
        torch.nn.init.zeros_(self.head.weight)
        torch.nn.init.zeros_(self.head.bias)
        if scores is not None:
            self.head.weight.data.copy_(scores)

    def named_parameters(self) -> list[tuple[str, torch.nn.Parameter]]:
        """What only the critic trains; the language head of a copy is never used."""
        out = list(self.head.named_parameters(prefix="value_head"))
        if self._own:
            out += self.trunk.model.base_model.named_parameters(prefix="value_trunk")
        return out

    def __call__(self, batch: MicroBatch, hidden: Tensor | None, where: Tensor) -> Tensor:
        """Values at the packed tokens `where`; `hidden` [T, d] is the policy's, if at hand."""
        if self._own or hidden is None:
            hidden = self.trunk.hidden(batch)
        states = hidden.index_select(0, where).to(self.head.weight.dtype)
        return self.head(states)[:, 0]
