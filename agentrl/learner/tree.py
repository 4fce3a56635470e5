"""Attention over a packed forest of rows: what rows have in common is there once.

Three rows that share a prompt, and two of them a first turn, packed depth first:

    row 0    P P P P a a a b b          packed   P P P P a a a b b c c d d d
    row 1    P P P P a a a c c          span     0       1     2   3   4
    row 2    P P P P d d d              end      14      11    9   11  14

A span is seen by itself (causally) and by all that follows it up to `end`, where its subtree
ends. So its keys serve two calls: one causal over the span, one plain over its descendants, and
the partial results are merged by their log-sum-exp. Rows without anything in common are spans
without descendants: plain packing is the same code. Exact: gradients of all continuations add up
in the keys and values of the shared span.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

import torch
from torch.nn import functional as F

Tensor = torch.Tensor
Piece = tuple[bool, slice, slice]
"""(causal, queries, keys)"""
BLOCK = 256


class Span(NamedTuple):
    """Packed tokens [start, stop), seen by [start, end)."""

    start: int
    stop: int
    end: int


class Forest:
    """The learner's `Packing` (see agentrl.models.attention)."""

    def __init__(self, spans: list[Span]) -> None:
        self.spans = spans
        self._block_mask: Any = None

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        """See `Packing.attend`: q [heads, T, d], k and v [kv_heads, T, d] -> [T, heads, d]."""
        q, k = q.to(v.dtype), k.to(v.dtype)  # autocast leaves normed queries and keys in float32
        if q.device.type == "cpu" and q.dtype in (torch.float32, torch.float64, torch.bfloat16):
            kv_heads, tokens, dim = k.shape
            # [group, kv_heads, T, d]: query heads of one kv head lie along the batch axis, where
            # keys and values are repeated by stride, without a copy.
            grouped = q.view(kv_heads, -1, tokens, dim).transpose(0, 1)
            out = _ForestAttention.apply(grouped, k, v, self.spans, scale)
            return out.transpose(0, 1).reshape(q.shape).transpose(0, 1)
        if q.device.type == "cuda" and q.dtype != torch.float64:
            return self.attend_masked(q, k, v, scale, compiled=True)
        return self.attend_slowly(layer, q, k, v, scale)

    def attend_masked(
        self, q: Tensor, k: Tensor, v: Tensor, scale: float, *, compiled: bool
    ) -> Tensor:
        """For GPUs, where one large kernel beats many small ones: block-masked attention, in which
        key j is seen by the queries from j to the end of its span's subtree."""
        from torch.nn.attention.flex_attention import create_block_mask, flex_attention

        if self._block_mask is None:  # one for all layers
            end = torch.tensor(
                [s.end for s in self.spans for _ in range(s.start, s.stop)], device=q.device
            )

            def sees(_b: Tensor, _h: Tensor, i: Tensor, j: Tensor) -> Tensor:
                return (j <= i) & (i < end[j])

            size = len(end)
            self._block_mask = create_block_mask(sees, None, None, size, size, device=q.device)
        attend: Any = _compiled(flex_attention) if compiled else flex_attention
        out = attend(
            q[None],
            k[None],
            v[None],
            block_mask=self._block_mask,
            scale=scale,
            enable_gqa=q.shape[0] != k.shape[0],
        )
        return out[0].transpose(0, 1)

    def attend_slowly(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        """The slow twin, for every device: each span against all keys on its path, by autograd."""
        outs = []
        path: list[Span] = []
        for span in self.spans:
            while path and path[-1].end <= span.start:
                path.pop()
            path.append(span)
            keys, values = (
                torch.cat([x[:, s.start : s.stop] for s in path], dim=1) for x in (k, v)
            )
            size = span.stop - span.start
            mask = None
            if len(path) > 1:
                mask = torch.ones(size, keys.shape[1], dtype=torch.bool, device=q.device)
                mask = mask.tril(keys.shape[1] - size)
            out = F.scaled_dot_product_attention(
                q[None, :, span.start : span.stop],
                keys[None],
                values[None],
                attn_mask=mask,
                is_causal=mask is None,
                scale=scale,
                enable_gqa=q.shape[0] != k.shape[0],
            )
            outs.append(out[0].transpose(0, 1))
        return torch.cat(outs, dim=0)


@cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiled once for all lengths; only so is no T x T matrix of scores ever made."""
    return torch.compile(function, dynamic=True)


class _ForestAttention(torch.autograd.Function):
    """Flash attention piece by piece; the backward of a piece needs only the merged result.

    With the log-sum-exp over all pieces, exp(q.k - lse) is the true probability, and a piece's
    backward kernel, given the merged output and lse, returns its exact share of dq and its dk, dv.
    """

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, spans: list[Span], scale: float
    ) -> Tensor:
        out = torch.empty_like(q, memory_format=torch.contiguous_format)
        lse = q.new_empty(q.shape[:3], dtype=_lse_dtype(q))
        for causal, rows, cols in _pieces(spans):
            piece, piece_lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
                q[:, :, rows], _spread(k, cols, q), _spread(v, cols, q), 0.0, causal, scale=scale
            )
            if causal:
                _put(out, lse, rows, piece, piece_lse)
            else:
                _merge(out, lse, rows, piece, piece_lse)
        ctx.save_for_backward(q, k, v, out, lse)
        ctx.spans, ctx.scale = spans, scale
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, out, lse = ctx.saved_tensors
        grad = grads[0]
        d_q, d_k, d_v = torch.zeros_like(q), torch.zeros_like(k), torch.zeros_like(v)
        for causal, rows, cols in _blocks(_pieces(ctx.spans)):
            dq, dk, dv = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
                grad[:, :, rows],
                q[:, :, rows],
                _spread(k, cols, q),
                _spread(v, cols, q),
                out[:, :, rows],
                lse[:, :, rows],
                0.0,
                causal,
                scale=ctx.scale,
            )
            d_q[:, :, rows] += dq
            d_k[:, cols] += dk.sum(0)
            d_v[:, cols] += dv.sum(0)
        return d_q, d_k, d_v, None, None


def _pieces(spans: list[Span]) -> list[Piece]:
    """(causal, queries, keys): every span on itself, then on its descendants."""
    own = [(True, slice(s.start, s.stop), slice(s.start, s.stop)) for s in spans]
    below = [(False, slice(s.stop, s.end), slice(s.start, s.stop)) for s in spans if s.end > s.stop]
    return own + below


def _blocks(pieces: list[Piece]) -> Iterator[Piece]:
    """Pieces cut to the size that the backward kernel is fastest at (it falls out of cache)."""
    for causal, rows, cols in pieces:
        for i in range(rows.start, rows.stop, BLOCK):
            below = slice(i, min(i + BLOCK, rows.stop))
            for j in range(cols.start, cols.stop, BLOCK):
                if not causal or j <= i:
                    yield causal and i == j, below, slice(j, min(j + BLOCK, cols.stop))


def _spread(x: Tensor, cols: slice, q: Tensor) -> Tensor:
    return x[None, :, cols].expand(q.shape[0], -1, -1, -1)


def _put(out: Tensor, lse: Tensor, rows: slice, piece: Tensor, piece_lse: Tensor) -> None:
    out[:, :, rows] = piece
    lse[:, :, rows] = piece_lse


def _merge(out: Tensor, lse: Tensor, rows: slice, piece: Tensor, piece_lse: Tensor) -> None:
    total = torch.logaddexp(lse[:, :, rows], piece_lse)
    old = torch.exp(lse[:, :, rows] - total)[..., None].to(out.dtype)
    new = torch.exp(piece_lse - total)[..., None].to(out.dtype)
    out[:, :, rows] = out[:, :, rows] * old + piece * new
    lse[:, :, rows] = total


def _lse_dtype(q: Tensor) -> torch.dtype:
    return torch.float64 if q.dtype == torch.float64 else torch.float32
