"""A causal model as the learner sees it: hidden states of packed rows, and a head."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, Protocol

import torch

from agentrl.learner.head import token_logprobs
from agentrl.learner.pack import MicroBatch
from agentrl.learner.settings import LearnerSettings
from agentrl.models.attention import NAME, use_packed_attention


class HasModel(Protocol):
    """Anything that holds a transformers causal model, such as `agentrl.models.Policy`."""

    @property
    def model(self) -> Any: ...


class Trunk:
    """Runs micro-batches through a model; holds no state of its own."""

    def __init__(self, model: Any, settings: LearnerSettings) -> None:
        self.model, self._s = model, settings
        if model.config._attn_implementation != NAME:
            use_packed_attention(model)

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """In which losses are computed: float64 for a float64 model, else float32."""
        double = next(self.model.parameters()).dtype == torch.float64
        return torch.float64 if double else torch.float32

    def hidden(self, batch: MicroBatch) -> torch.Tensor:
        """[T, d], the final hidden state of every packed token."""
        with self._autocast():
            out = self.model.base_model(
                input_ids=batch.tokens[None],
                position_ids=batch.position[None],
                use_cache=False,
                packing=batch.forest,
            )
        return out.last_hidden_state[0]

    def logprobs(self, batch: MicroBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probability and entropy, [N] each, of the trained tokens."""
        hidden = self.hidden(batch)[batch.where]
        head = self.model.get_output_embeddings()
        return token_logprobs(hidden, head, batch.target, logit_budget=self._s.logit_budget)

    def _autocast(self) -> Any:
        if not self._s.autocast:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=getattr(torch, self._s.autocast))
