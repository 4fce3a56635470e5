"""One attention for engine and learner: rows are packed end to end, never padded.

A forward pass runs on `input_ids[1, T]` that hold many sequences one after the other, and is told
by a `Packing` which tokens see which keys. The engine's packing keeps KV caches; the learner's
keeps bounds and shared prefixes. The model's weights and code are the same for both.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from transformers import AttentionInterface, AttentionMaskInterface

NAME = "agentrl_packed"


class Packing(Protocol):
    """Says which tokens of a packed row see which keys."""

    def attend(
        self, layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float
    ) -> torch.Tensor:
        """Attention of one layer.

        Args:
            layer: index of the layer, from 0.
            q: [heads, T, head_dim], rotary embedding applied.
            k, v: [kv_heads, T, head_dim].
            scale: what q.k is multiplied by.

        Returns:
            [T, heads, head_dim].
        """
        ...


def _packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    packing: Packing | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    if packing is None:
        raise RuntimeError("this model runs packed rows: call it with packing=...")
    if sliding_window is not None and query.shape[2] > sliding_window:
        raise RuntimeError(f"sliding-window attention ({sliding_window}) has no packed form yet")
    if softcap is not None or s_aux is not None:
        raise RuntimeError("soft-capped scores and attention sinks have no packed form yet")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    layer = int(module.layer_idx)  # type: ignore[arg-type]
    return packing.attend(layer, query[0], key[0], value[0], scale).unsqueeze(0), None


def _no_mask(*_: Any, **__: Any) -> None:
    """The packing says who sees whom; transformers builds no mask."""


def use_packed_attention(model: Any) -> None:
    """Make a transformers causal model call `Packing.attend` in every layer of its decoder."""
    AttentionInterface.register(NAME, _packed_attention)
    AttentionMaskInterface.register(NAME, _no_mask)
    set_attention(model, NAME)


def set_attention(model: Any, name: str) -> None:
    """Of the decoder: a vision tower keeps its own."""
    alone = model.config.get_text_config() is model.config
    model.set_attn_implementation(name if alone else {"text_config": name})


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


def own_attention(model: Any) -> str:
    """The fastest attention of transformers that knows what the model asks for."""
    config = model.config.get_text_config()
    plain = not getattr(config, "attn_logit_softcapping", None) and model._supports_sdpa
    return "sdpa" if plain else "eager"
