"""Models that give a text one logit."""

from __future__ import annotations

import itertools
import re
import zlib
from collections.abc import Sequence

import torch
from torch import nn


class HashedText(nn.Module):
    """A small classifier of texts: words and word pairs hashed into `buckets`, one hidden layer.

    Learns in milliseconds on a CPU; enough to tell right from wrong where few words decide.
    """

    def __init__(self, buckets: int = 4096, hidden: int = 32, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.buckets = buckets
        self.embed = nn.EmbeddingBag(buckets, hidden, mode="mean")
        self.out = nn.Linear(hidden, 1)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)

    def forward(self, texts: Sequence[str]) -> torch.Tensor:
        """float32[B] logits."""
        ids = [self._ids(text) for text in texts]
        flat = torch.tensor([i for row in ids for i in row])
        offsets = torch.tensor([0, *(len(row) for row in ids)][:-1]).cumsum(0)
        return self.out(torch.tanh(self.embed(flat, offsets))).squeeze(-1)

    def _ids(self, text: str) -> list[int]:
        words = re.findall(r"\w+|[^\w\s]", text.lower())
        grams = [*words, *(f"{a} {b}" for a, b in itertools.pairwise(words))] or [""]
        return [zlib.crc32(g.encode("utf-8", "replace")) % self.buckets for g in grams]


class SequenceClassifier(nn.Module):
    """A transformers sequence classifier with one label, from a directory or hub name."""

    def __init__(self, path: str, max_tokens: int = 4096) -> None:
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        super().__init__()
        self._tokenizer = AutoTokenizer.from_pretrained(path)
        self.model = AutoModelForSequenceClassification.from_pretrained(path, num_labels=1)
        self._max_tokens = max_tokens

    def forward(self, texts: Sequence[str]) -> torch.Tensor:
        """float32[B] logits."""
        batch = self._tokenizer(
            list(texts),
            padding=True,
            truncation=True,
            max_length=self._max_tokens,
            return_tensors="pt",
        ).to(self.model.device)
        return self.model(**batch).logits[:, 0].float()
