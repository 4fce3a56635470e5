"""Images for vLLM: it runs the model's processor itself, from one placeholder for each image."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from agentrl.core import ConfigError, PlacedImage
from agentrl.models import ChatTokenizer


def prompt_of(
    ids: list[int], images: Sequence[PlacedImage], tokenizer: ChatTokenizer | None
) -> dict[str, Any]:
    """vLLM's prompt: ids, in which each image is one placeholder again, and the images.

    Raises:
        ConfigError: the engine was made without the tokenizer of a vision-language model.
    """
    if not images:
        return {"prompt_token_ids": ids}
    if tokenizer is None or tokenizer.vision is None:
        raise ConfigError(
            f"{len(images)} images for an engine that reads text only",
            where="vllm engine",
            fix="give VLLMEngine the tokenizer of the vision-language model",
        )
    from PIL import Image as Picture

    placeholder = tokenizer.encode(tokenizer.vision.placeholder)
    folded: list[int] = []
    end = 0
    for placed in images:
        folded += [*ids[end : placed.start], *placeholder]
        end = placed.stop
    pictures = [Picture.open(io.BytesIO(p.image.data)).convert("RGB") for p in images]
    return {"prompt_token_ids": folded + ids[end:], "multi_modal_data": {"image": pictures}}


def refuse_images(images: Sequence[PlacedImage]) -> None:
    """Raises ConfigError when there are any."""
    if images:
        raise ConfigError(
            "the token API of vLLM's servers takes no images from us yet",
            where="vllm servers",
            fix="use vLLM in this process (engine: {kind: vllm}) or the transformers engine",
        )
