"""The language head as the model itself applies it: some families scale or cap its logits."""

from __future__ import annotations

from typing import Any

import torch

from agentrl.core import ConfigError


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


def load_scorer(path: str, policy: Any) -> tuple[Any, torch.Tensor | None]:
    """A model for values of its own, and the weights of its score head if it was trained as one.

    Raises:
        ConfigError: nothing can be loaded from there, or its vocabulary is not the policy's.
    """
    from transformers import AutoModelForSequenceClassification

    like = next(iter(policy.parameters()))
    try:
        model = AutoModelForSequenceClassification.from_pretrained(path, num_labels=1)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"cannot load a critic: {error}",
            where="learner.critic.path",
            fix="give a model directory of transformers, or leave it out for a copy of the policy",
        ) from error
    mine, theirs = (m.get_input_embeddings().weight.shape[0] for m in (policy, model))
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
