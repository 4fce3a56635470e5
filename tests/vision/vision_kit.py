"""Tiny vision-language models of three families, and pictures for them."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image as Picture
from transformers import (
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3Processor,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
)
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from agentrl.core import Image
from agentrl.models import (
    VISION_SPECIALS,
    ChatTokenizer,
    Policy,
    Vision,
    builtin_template,
    make_policy,
    tiny_vision_policy,
    train_tokenizer,
)

TEXTS = ["what do you see in the maze? up down left right, look at it\n"] * 5
_MARKS = ("<|system|>", "<|user|>", "<|assistant|>", "<|tool|>", "<|end|>")


def picture(seed: int, width: int = 61, height: int = 61) -> Image:
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Picture.fromarray(pixels).save(buffer, "PNG")
    return Image(buffer.getvalue())


def llava(seed: int = 0) -> Policy:
    tokenizer = train_tokenizer(TEXTS, 320, VISION_SPECIALS)
    return tiny_vision_policy(
        tokenizer, side=32, hidden=64, vision_hidden=64, layers=2, seed=seed, max_positions=512
    )


class QwenProcessor:
    """What `Qwen2VLProcessor` does with images; that one cannot be made without torchvision."""

    image_token = "<|image_pad|>"

    def __init__(self, tokenizer) -> None:
        sizes = {"shortest_edge": 16 * 16, "longest_edge": 256 * 256}
        self.image_processor = Qwen2VLImageProcessorPil(patch_size=8, merge_size=2, size=sizes)
        self.tokenizer = tokenizer
        self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)

    def __call__(self, text, images, return_tensors):
        out = dict(self.image_processor(images, return_tensors=return_tensors))
        counts = (out["image_grid_thw"].prod(-1) // 4).tolist()
        (whole,) = text
        pieces = whole.split(self.image_token)
        filled = "".join(
            p + self.image_token * n for p, n in zip(pieces, [*counts, 0], strict=True)
        )
        return out | {"input_ids": torch.tensor([self.tokenizer.encode(filled)])}


def qwen2_vl() -> Policy:
    marks = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
    tokenizer = train_tokenizer(TEXTS, 320, (*_MARKS, *marks))
    names = ("vision_start_token_id", "vision_end_token_id", "image_token_id", "video_token_id")
    config = Qwen2VLConfig(
        text_config={
            "vocab_size": 320,
            "hidden_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "intermediate_size": 128,
            "max_position_embeddings": 512,
            "tie_word_embeddings": True,
            "rope_parameters": {
                "rope_type": "default",
                "mrope_section": [2, 3, 3],
                "rope_theta": 1e4,
            },
        },
        vision_config={
            "depth": 2,
            "embed_dim": 64,
            "hidden_size": 64,
            "num_heads": 4,
            "mlp_ratio": 2,
            "patch_size": 8,
            "spatial_merge_size": 2,
        },
        tie_word_embeddings=True,
        **{n: tokenizer.convert_tokens_to_ids(m) for n, m in zip(names, marks, strict=True)},
    )
    shown = (
        "{%- if message.content is string %}{{ message.content }}{% else %}"
        "{% for p in message.content %}{% if p.type == 'image' %}"
        "<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ p.text }}{% endif %}"
        "{% endfor %}{% endif -%}"
    )
    template = builtin_template("compact").replace("{{ message.content }}", shown)
    model = _loud(Qwen2VLForConditionalGeneration(config))
    chat = ChatTokenizer(tokenizer, template, vision=Vision(QwenProcessor(tokenizer)))
    return make_policy(model, chat, torch.device("cpu"))


def idefics3() -> Policy:
    places = [f"<row_{i}_col_{j}>" for i in range(1, 4) for j in range(1, 4)]
    marks = ("<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>")
    tokenizer = train_tokenizer(TEXTS, 340, (*_MARKS, *marks, *places))
    pixels = Idefics3ImageProcessorPil(
        size={"longest_edge": 64}, max_image_size={"longest_edge": 32}
    )
    processor = Idefics3Processor(pixels, tokenizer, image_seq_len=4)
    config = Idefics3Config(
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        text_config={
            "model_type": "llama",
            "vocab_size": 340,
            "hidden_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "intermediate_size": 128,
            "max_position_embeddings": 512,
            "pad_token_id": 0,
        },
        vision_config={
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "image_size": 32,
            "patch_size": 8,
        },
        scale_factor=2,
        tie_word_embeddings=True,
    )
    model = _loud(Idefics3ForConditionalGeneration(config))
    # A template that takes contents as lists only, as this family's do.
    template = (
        "{% for m in messages %}<|{{ m.role }}|>{% for p in m.content %}"
        "{% if p.type == 'image' %}<image>{% elif p.type == 'text' %}{{ p.text }}{% endif %}"
        "{% endfor %}<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    chat = ChatTokenizer(tokenizer, template, vision=Vision(processor))
    return make_policy(model, chat, torch.device("cpu"))


def _loud(model):
    """Weights large enough that every part of the model moves the logits."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.copy_(torch.randn_like(parameter) * 0.08)
    return model.eval()


FAMILIES = {"llava": llava, "qwen2_vl": qwen2_vl, "idefics3": idefics3}
