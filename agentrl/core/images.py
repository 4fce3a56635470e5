"""Images inside token sequences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from agentrl.core.messages import Image


@dataclass(slots=True, frozen=True)
class PlacedImage:
    """An image and its tokens [start, stop): the placeholders that the model's processor writes."""

    start: int
    stop: int
    image: Image


def content_keys(tokens: Sequence[int] | np.ndarray, images: Sequence[PlacedImage]) -> np.ndarray:
    """int64[T]: the ids, but negative numbers that name the content where an image stands.

    Images of one size have the same placeholder tokens: two sequences start alike only as far as
    these keys do.
    """
    keys = np.array(tokens, np.int64)
    for placed in images:
        first = int(placed.image.digest[:15], 16)
        keys[placed.start : placed.stop] = -1 - first - np.arange(placed.stop - placed.start)
    return keys


class ImageTokens(Protocol):
    """What stands for an image in a policy's tokens.

    Attributes:
        placeholder: the control token that a chat template writes where an image stands.
    """

    placeholder: str

    def tokens_of(self, image: Image) -> list[int]:
        """Raises ModelError when the image cannot be read."""
        ...
