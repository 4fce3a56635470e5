"""The language head as the model itself applies it: some families scale or cap its logits."""

from __future__ import annotations

from typing import Any

import torch


class ScaledHead(torch.nn.Module):
    """A head whose logits are multiplied by `scale` and held in (-cap, cap) by tanh.

    It owns no parameters of its own: `linear` stays where the model has it.
    """

    def __init__(self, linear: torch.nn.Module, scale: float, cap: float | None) -> None:
        super().__init__()
        self._linear = (linear,)  # in a tuple, so that it is not registered a second time
        self.scale, self.cap = scale, cap

    @property
    def weight(self) -> torch.Tensor:
        weight: torch.Tensor = self._linear[0].weight  # type: ignore[assignment]
        return weight

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        logits = self._linear[0](hidden) * self.scale
        return logits if self.cap is None else self.cap * torch.tanh(logits / self.cap)


def language_head(model: Any) -> torch.nn.Module:
    """Hidden states -> logits of a transformers causal model.

    The model's own linear layer, or that with Cohere's `logit_scale`, Granite's `logits_scaling`
    or Gemma's `final_logit_softcapping`, which those families apply outside the layer.
    """
    config = model.config.get_text_config()
    linear: torch.nn.Module = model.get_output_embeddings()
    scale = float(getattr(config, "logit_scale", None) or 1.0)
    scale /= float(getattr(config, "logits_scaling", None) or 1.0)
    cap = getattr(config, "final_logit_softcapping", None)
    return linear if scale == 1.0 and cap is None else ScaledHead(linear, scale, cap)
