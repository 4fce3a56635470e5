"""Images in the engine's packed rows: features where a span holds placeholders, and positions."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
import torch

from agentrl.core import ConfigError, Image, PlacedImage, content_keys
from agentrl.models.policy import Policy
from agentrl.models.vision import Vision, embed

FEATURE_TOKENS = 1 << 15
"""Features that are kept for conversations to come, in tokens."""


def view_of(policy: Policy, tokens: list[int], images: Sequence[PlacedImage]) -> View | None:
    """None without images.

    Raises:
        ConfigError: the model reads text only, or an image does not stand at its placeholders.
    """
    check_images(policy, tokens, images)
    if not images or policy.vision is None:
        return None
    return View(policy, policy.vision, tokens, images)


def check_images(policy: Policy, tokens: list[int], images: Sequence[PlacedImage]) -> None:
    """Raises ConfigError: the model reads text only, or an image is not at its placeholders."""
    if not images:
        return
    if policy.vision is None:
        raise ConfigError(
            f"{len(images)} images for a model that reads text only",
            where="transformers engine",
            fix="use a vision-language model, or give it no images",
        )
    for placed in images:
        if tokens[placed.start : placed.stop] != policy.vision.see(placed.image).tokens:
            raise ConfigError(
                f"tokens {placed.start} to {placed.stop} are not what stands for their image",
                where="transformers engine",
                fix="place images with the processor of the engine's own model",
            )


class View:
    """The images of one sequence.

    Attributes:
        images: in order.
        keys: the tokens, but what names the content where an image stands.
        filled: positions that take a feature, in order; `owner` says of which image, `row` which
            of its features.
    """

    def __init__(
        self, policy: Policy, vision: Vision, tokens: list[int], images: Sequence[PlacedImage]
    ) -> None:
        self.images = [placed.image for placed in images]
        self.keys: list[int] = content_keys(tokens, images).tolist()
        places = [vision.filled([placed]) for placed in images]
        self.filled = np.concatenate(places)
        self.owner = np.repeat(np.arange(len(places)), [len(p) for p in places])
        self.row = np.concatenate([np.arange(len(p)) for p in places])
        self._positions = vision.positions(policy.model, tokens, images)

    def positions(self, start: int, end: int) -> np.ndarray:
        """int64[axes, end - start]; what follows the prompt counts on."""
        known = np.atleast_2d(self._positions)
        size = known.shape[1]
        after = known.max() + 1 + np.arange(max(start, size) - size, max(end, size) - size)
        later = np.broadcast_to(after, (len(known), len(after)))
        return np.concatenate([known[:, start:end], later], axis=1)


class Eyes:
    """Features of images under the current weights, each computed alone: its numbers do not
    depend on what else is looked at."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._kept: OrderedDict[str, torch.Tensor] = OrderedDict()

    def forget(self) -> None:
        """The weights changed."""
        self._kept.clear()

    def look(self, image: Image) -> torch.Tensor:
        """[F, hidden]."""
        assert self._policy.vision is not None
        digest = image.digest
        if digest not in self._kept:
            (self._kept[digest],) = self._policy.vision.features(self._policy.model, [image])
        self._kept.move_to_end(digest)
        while len(self._kept) > 1 and sum(map(len, self._kept.values())) > FEATURE_TOKENS:
            self._kept.popitem(last=False)
        return self._kept[digest]

    def embed(
        self, ids: torch.Tensor, spans: Sequence[tuple[int, int, View | None]]
    ) -> torch.Tensor | None:
        """[T, hidden] of a packed row, None when no image stands in it.

        Args:
            spans: (start, end, view) of each span's tokens in its sequence, in the row's order.
        """
        where: list[np.ndarray] = []
        features: list[torch.Tensor] = []
        row = 0
        for start, end, view in spans:
            if view is not None:
                first, last = np.searchsorted(view.filled, (start, end))
                for image in np.unique(view.owner[first:last]):
                    here = first + np.flatnonzero(view.owner[first:last] == image)
                    where.append(row + view.filled[here] - start)
                    features.append(self.look(view.images[image])[view.row[here]])
            row += end - start
        if not where:
            return None
        places = torch.from_numpy(np.concatenate(where)).to(ids.device)
        return embed(self._policy.model, ids, places, features)
