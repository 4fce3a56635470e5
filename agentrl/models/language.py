"""The decoder of a causal model, alone or inside a vision-language model."""

from __future__ import annotations

from typing import Any

import torch

from agentrl.models.attention import Packing


def decoder(model: Any) -> Any:
    """What maps token embeddings to hidden states."""
    alone = model.config.get_text_config() is model.config
    return model.base_model if alone else model.get_decoder()


def hidden_states(
    model: Any,
    ids: torch.Tensor,
    positions: torch.Tensor,
    packing: Packing,
    embeds: torch.Tensor | None = None,
) -> torch.Tensor:
    """[T, hidden], the final hidden state of every token of a packed row.

    Args:
        ids: int64[T].
        positions: int64[T], or [axes, T] where the model's rotary embedding has several.
        embeds: [T, hidden], in place of the embeddings of `ids`.
    """
    out = decoder(model)(
        input_ids=ids[None] if embeds is None else None,
        inputs_embeds=None if embeds is None else embeds[None],
        position_ids=positions[None] if positions.dim() == 1 else positions[:, None],
        use_cache=False,
        packing=packing,
    )
    states: torch.Tensor = out.last_hidden_state[0]
    return states
