"""Small vision-language policies of our own: LLaVA's architecture around a Qwen3 decoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from agentrl.models.policy import Policy, make_policy
from agentrl.models.template import builtin_template
from agentrl.models.tiny import COMPACT_SPECIALS
from agentrl.models.tokenizer import ChatTokenizer
from agentrl.models.vision import Vision

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

IMAGE = "<image>"
VISION_SPECIALS = (*COMPACT_SPECIALS, IMAGE)
"""Control tokens that `train_tokenizer` must be given for a policy of this module."""


def tiny_vision_policy(
    tokenizer: PreTrainedTokenizerFast,
    template: str | None = None,
    *,
    side: int = 64,
    patch: int = 8,
    vision_hidden: int = 128,
    vision_layers: int = 2,
    hidden: int = 128,
    layers: int = 3,
    heads: int = 4,
    kv_heads: int = 2,
    head_dim: int = 32,
    max_positions: int = 4096,
    initializer_range: float = 0.05,
    seed: int = 0,
    device: str = "cpu",
) -> Policy:
    """A policy that sees, with fresh float32 weights and a processor of its own.

    An image is scaled to `side` x `side` pixels and is (side / patch) ** 2 tokens. A SigLIP tower
    looks at the patches, two layers project what it sees into the decoder's space.

    Args:
        tokenizer: with `VISION_SPECIALS` among its control tokens.
        template: Jinja source; None takes the compact template that ships with agentrl.
        seed: the same seed gives the same weights.
    """
    from transformers import (
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
        Qwen3Config,
        SiglipVisionConfig,
    )
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    pixels = SiglipImageProcessorPil(size={"height": side, "width": side})
    processor = LlavaProcessor(
        pixels,
        tokenizer,
        patch_size=patch,
        vision_feature_select_strategy="full",
        image_token=IMAGE,
    )
    source = template or builtin_template("compact")
    chat = ChatTokenizer(tokenizer, source, vision=Vision(processor))
    config = LlavaConfig(
        vision_config=SiglipVisionConfig(
            hidden_size=vision_hidden,
            intermediate_size=2 * vision_hidden,
            num_hidden_layers=vision_layers,
            num_attention_heads=heads,
            image_size=side,
            patch_size=patch,
            vision_use_head=False,
        ),
        text_config=Qwen3Config(
            vocab_size=chat.vocab_size,
            hidden_size=hidden,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            num_key_value_heads=kv_heads,
            head_dim=head_dim,
            intermediate_size=3 * hidden,
            max_position_embeddings=max_positions,
            initializer_range=initializer_range,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=list(chat.stop_ids),
            pad_token_id=chat.end_of_turn,
        ),
        image_token_index=processor.image_token_id,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlavaForConditionalGeneration(config).eval()
    target = torch.device(device)
    return make_policy(model.to(target), chat, target)
