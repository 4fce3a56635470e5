"""Models as the learner sees them: hidden states of packed rows, a language head, a value head."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol

import numpy as np
import torch

from agentrl.core import ConfigError
from agentrl.learner.head import token_logprobs
from agentrl.learner.pack import MicroBatch, pack
from agentrl.learner.rows import Row
from agentrl.learner.settings import LearnerSettings
from agentrl.models.attention import NAME, set_attention, use_packed_attention
from agentrl.models.decoder import decoder, hidden_states
from agentrl.models.heads import language_head
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
        set_attention(self.model, _own_attention(self.model))
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


def why_one_by_one(model: Any) -> str:
    """Why rows of this model cannot share a forward pass; "" when they can."""
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ())
    carries = sorted(k for k in kinds if "attention" not in k or "linear" in k)
    if carries:
        return f"layers of kind {carries[0]} carry state across rows"
    windows = getattr(config, "sliding_window", None) and getattr(
        config, "use_sliding_window", True
    )
    if "chunked_attention" in kinds or "sliding_attention" in kinds or (windows and not kinds):
        return "its attention sees a window, and packed rows have no form of that"
    if getattr(config, "attn_logit_softcapping", None):
        return "its attention caps scores, and packed rows have no form of that"
    if any(hasattr(module, "sinks") for module in model.modules()):
        return "its attention has sinks, and packed rows have no form of that"
    return ""


def _own_attention(model: Any) -> str:
    """The fastest attention of transformers that knows what the model asks for."""
    config = model.config.get_text_config()
    plain = not getattr(config, "attn_logit_softcapping", None) and model._supports_sdpa
    return "sdpa" if plain else "eager"


class ValueModel:
    """V(state) for the states before trained tokens, starting at zero everywhere (or at the
    scores of a reward model)."""

    def __init__(self, trunk: Trunk, settings: LearnerSettings) -> None:
        assert settings.critic is not None
        self._own = settings.critic.kind == "model"
        scores = None
        if self._own and settings.critic.path:
            model, scores = _load_critic(settings.critic.path, trunk)
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


def _load_critic(path: str, policy: Trunk) -> tuple[Any, Tensor | None]:
    """A model for values of its own, and the weights of its score head if it was trained as one.

    Raises:
        ConfigError: nothing can be loaded from there, or its vocabulary is not the policy's.
    """
    from transformers import AutoModelForSequenceClassification

    like = next(iter(policy.model.parameters()))
    try:
        model = AutoModelForSequenceClassification.from_pretrained(path, num_labels=1)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"cannot load a critic: {error}",
            where="learner.critic.path",
            fix="give a model directory of transformers, or leave it out for a copy of the policy",
        ) from error
    mine, theirs = (m.get_input_embeddings().weight.shape[0] for m in (policy.model, model))
    if theirs < mine:
        raise ConfigError(
            f"the critic knows {theirs} token ids, the policy {mine}",
            where="learner.critic.path",
            fix="take a critic with the policy's tokenizer",
        )
    names = model.config.architectures or []
    trained = any("SequenceClassification" in name for name in names)
    model = model.to(device=like.device, dtype=like.dtype).eval()
    return model, model.score.weight.detach() if trained else None
