"""How a vision-language policy sees: images become placeholder tokens, pixels and features.

The model's own processor says what an image stands as in the tokens and what its pixels are; the
model's own vision tower makes features of the pixels, which take the place of the embeddings of
the placeholder tokens. Nothing else of the model's forward changes, so a packed row may hold many
conversations with their images.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import torch

from agentrl.core import Image, ModelError, PlacedImage

KINDS = ("llava", "qwen2_vl", "qwen2_5_vl", "idefics3", "smolvlm")
"""Families whose images are features in place of embeddings and whose attention stays causal, and
that are compared with their own forward pass in the tests."""

_OF_TEXT = ("input_ids", "attention_mask", "mm_token_type_ids", "token_type_ids")
_KEPT = 512


@dataclass(slots=True, frozen=True)
class Seen:
    """An image as the processor gives it.

    Attributes:
        tokens: what stands for it.
        filled: bool[len(tokens)], which of them take a feature.
        pixels: what the model's `get_image_features` takes.
    """

    tokens: list[int]
    filled: np.ndarray
    pixels: dict[str, torch.Tensor]


class Vision:
    """The processor of a vision-language model.

    Attributes:
        processor: of transformers (`AutoProcessor`).
        placeholder: the text that a chat template writes where an image stands.
        token: the id that takes a feature.
    """

    def __init__(self, processor: Any) -> None:
        self.processor = processor
        self.placeholder = str(processor.image_token)
        self.token = int(processor.image_token_id)
        self._seen: dict[str, Seen] = {}

    def see(self, image: Image) -> Seen:
        """Tokens and pixels of an image; kept for the next time, by any thread.

        Raises:
            ModelError: it cannot be read.
        """
        digest = image.digest
        seen = self._seen.get(digest)
        if seen is None:
            seen = self._seen[digest] = self._process(image)
            for old in list(self._seen)[:-_KEPT]:
                self._seen.pop(old, None)
        return seen

    def tokens_of(self, image: Image) -> list[int]:
        """Placeholder tokens, as the processor writes them. Raises ModelError."""
        return self.see(image).tokens

    def _process(self, image: Image) -> Seen:
        from PIL import Image as Picture

        try:
            with Picture.open(io.BytesIO(image.data)) as opened:
                picture = opened.convert("RGB")
            out = dict(
                self.processor(text=[self.placeholder], images=[picture], return_tensors="pt")
            )
        except Exception as error:  # bytes from outside fail in any way
            raise ModelError(
                f"an image ({image.media_type}, {len(image.data)} bytes) cannot be read: {error}",
                fix="give the bytes of a PNG or JPEG file",
            ) from error
        tokens = out["input_ids"][0]
        pixels = {k: v for k, v in out.items() if k not in _OF_TEXT}
        return Seen(tokens.tolist(), (tokens == self.token).numpy(), pixels)

    def filled(self, images: Sequence[PlacedImage]) -> np.ndarray:
        """int64[F], the positions that take a feature, in order."""
        places = [p.start + np.flatnonzero(self.see(p.image).filled) for p in images]
        return np.concatenate([np.zeros(0, np.int64), *places])

    def features(self, model: Any, images: Sequence[Image]) -> list[torch.Tensor]:
        """[F, hidden] of each image, by the model's vision tower; with gradient where enabled.

        Images of one size go through together, equal ones once.
        """
        seen = {image.digest: self.see(image) for image in images}
        kinds = sorted(seen, key=lambda digest: _shape(seen[digest]))
        found: dict[str, torch.Tensor] = {}
        for _, run in groupby(kinds, key=lambda digest: _shape(seen[digest])):
            digests = list(run)
            sizes = [int(seen[digest].filled.sum()) for digest in digests]
            rows = _features(model, [seen[digest].pixels for digest in digests])
            found |= dict(zip(digests, rows.split(sizes), strict=True))
        return [found[image.digest] for image in images]

    def positions(
        self, model: Any, tokens: Sequence[int] | np.ndarray, images: Sequence[PlacedImage]
    ) -> np.ndarray:
        """int64[T], or int64[3, T] where the rotary embedding counts time, height and width."""
        index = getattr(model.base_model, "get_rope_index", None)
        if index is None or not images:
            return np.arange(len(tokens))
        kinds = np.zeros(len(tokens), np.int64)
        kinds[self.filled(images)] = 1
        grids = [self.see(p.image).pixels["image_grid_thw"] for p in images]
        found, _ = index(
            input_ids=torch.as_tensor(np.asarray(tokens, np.int64))[None],
            mm_token_type_ids=torch.from_numpy(kinds)[None],
            image_grid_thw=torch.cat(grids),
        )
        where: np.ndarray = found[:, 0].numpy()
        return where


def _shape(seen: Seen) -> str:
    """What must be equal for two images to go through the tower in one call."""
    return repr({name: (list(x.shape[1:]), str(x.dtype)) for name, x in seen.pixels.items()})


def _features(model: Any, pixels: list[dict[str, torch.Tensor]]) -> torch.Tensor:
    together = {k: torch.cat([p[k] for p in pixels]).to(model.device) for k in pixels[0]}
    out = model.base_model.get_image_features(**together, return_dict=True)
    parts = [part.reshape(-1, part.shape[-1]) for part in out.pooler_output]
    return torch.cat(parts)


def embed(
    model: Any, ids: torch.Tensor, where: torch.Tensor, features: Sequence[torch.Tensor]
) -> torch.Tensor:
    """[T, hidden]: embeddings of `ids`, but the features, end to end, at the positions `where`."""
    embeds: torch.Tensor = model.get_input_embeddings()(ids)
    rows = torch.cat(list(features)).to(embeds.dtype)
    return embeds.index_copy(0, where, rows)


def join_positions(parts: Sequence[np.ndarray]) -> np.ndarray:
    """int64[T] of parts end to end, or [axes, T] when one of them has several axes."""
    axes = max(len(np.atleast_2d(part)) for part in parts)
    if axes == 1:
        return np.concatenate([part.reshape(-1) for part in parts])
    return np.concatenate([np.broadcast_to(p, (axes, p.shape[-1])) for p in parts], axis=1)
