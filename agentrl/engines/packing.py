"""The engine's packing: new tokens of many conversations in one row, each beside its own cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

from agentrl.engines.cache import KVCache
from agentrl.engines.sight import View

ROWS = 16
"""A step's rows are filled up to a multiple of this. Matrix products of few rows take other
kernels, whose last bits differ; from 16 rows on they agree, so that what a token comes out as
does not depend on how many others are in its step."""


@dataclass(slots=True)
class Span:
    """Tokens [start, end) of a conversation, whose rows the step adds to the cache under `keys`."""

    cache: KVCache
    start: int
    end: int
    tokens: list[int]
    keys: list[int]
    view: View | None = None

    def __len__(self) -> int:
        return self.end - self.start


class KVPacking:
    """Attention of packed spans over their caches.

    Args:
        spans: one-token spans first, then longer ones; caches have room for them. Several spans
            of one conversation may follow each other.
        rows: length of the packed row; those behind the spans are filling.
    """

    def __init__(self, spans: Sequence[Span], rows: int, device: torch.device) -> None:
        self.sizes = [len(s) for s in spans]
        self.singles = sum(n == 1 for n in self.sizes)
        self.blocks = list(spans[self.singles :])
        self.used, self.rows = sum(self.sizes), rows
        # Views by span, each a tuple over 2 * layers; made once for all layers.
        kvs = [s.cache.kv for s in spans]
        self._seen = [
            kv[:, :, :, : s.end].unbind(0)
            for s, kv in zip(spans, kvs, strict=True)
            if kv is not None
        ]
        self._fresh = [
            kv[:, 0, :, s.start : s.end].unbind(0)
            for s, kv in zip(spans, kvs, strict=True)
            if kv is not None
        ]
        self._masks = [_causal_mask(s, device) for s in self.blocks]

    def attend(
        self, layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float
    ) -> torch.Tensor:
        self._store(2 * layer, k)
        self._store(2 * layer + 1, v)
        heads, _, width = q.shape
        parts = []
        if self.singles:
            parts.append(self._attend_singles(layer, q, k.shape[0], scale))
        row = self.singles
        for i, span in enumerate(self.blocks, self.singles):
            seen = self._seen[i]
            mask = self._masks[i - self.singles]
            out = functional.scaled_dot_product_attention(
                q[None, :, row : row + len(span)],
                seen[2 * layer],
                seen[2 * layer + 1],
                attn_mask=mask,
                is_causal=mask is None,
                scale=scale,
                enable_gqa=True,
            )
            parts.append(out[0].transpose(0, 1))
            row += len(span)
        if row < self.rows:
            parts.append(q.new_zeros((self.rows - row, heads, width)))
        return torch.cat(parts)

    def _store(self, index: int, new: torch.Tensor) -> None:
        pieces = new[:, : self.used].split(self.sizes, dim=1)
        torch._foreach_copy_([f[index] for f in self._fresh], list(pieces))

    def _attend_singles(
        self, layer: int, q: torch.Tensor, kv_heads: int, scale: float
    ) -> torch.Tensor:
        """One call per conversation: on the CPU, where time goes into reading the cache, that
        beats a padded batch, and its bits do not depend on the neighbours."""
        heads, _, width = q.shape
        # Heads that share a key head stand in as its query positions: no key is repeated.
        grouped = q[:, : self.singles].view(kv_heads, heads // kv_heads, self.singles, width)
        queries = grouped.permute(2, 0, 1, 3).unsqueeze(1).unbind(0)
        attention = functional.scaled_dot_product_attention
        seen = self._seen
        key, value = 2 * layer, 2 * layer + 1
        outs = [
            attention(one, seen[i][key], seen[i][value], scale=scale)
            for i, one in enumerate(queries)
        ]
        return torch.cat(outs).reshape(self.singles, heads, width)


def _causal_mask(span: Span, device: torch.device) -> torch.Tensor | None:
    """bool[n, end]; None at the start of a conversation, where plain causal attention serves."""
    if span.start == 0:
        return None
    return torch.ones((len(span), span.end), dtype=torch.bool, device=device).tril(span.start)
