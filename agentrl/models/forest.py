"""Attention over a packed forest of rows: what rows have in common is there once.

Three rows that share a prompt, and two of them a first turn, packed depth first:

    row 0    P P P P a a a b b          packed   P P P P a a a b b c c d d d
    row 1    P P P P a a a c c          span     0       1     2   3   4
    row 2    P P P P d d d              end      14      11    9   11  14

A span is seen by itself (causally) and by all that follows it up to `end`, where its subtree
ends. Its queries meet the keys of its path from the root, which ends in itself. Rows without
anything in common are spans without descendants: plain packing is the same code. Exact:
gradients of all continuations add up in the keys and values of the shared span.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

import torch
from torch.nn import functional as F

Tensor = torch.Tensor
BLOCK = 128
"""Queries in one call of the CPU's kernel, which computes what is masked too."""


class Span(NamedTuple):
    """Packed tokens [start, stop), seen by [start, end)."""

    start: int
    stop: int
    end: int


class Forest:
    """The learner's `Packing` (see agentrl.models.attention)."""

    def __init__(self, spans: list[Span]) -> None:
        self.spans = spans
        self._mask = Tensor()  # of the CPU's kernel, one for all layers
        self._block_mask: Any = None  # of the GPU's

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        """See `Packing.attend`: q [heads, T, d], k and v [kv_heads, T, d] -> [T, heads, d]."""
        q, k = q.to(v.dtype), k.to(v.dtype)  # autocast leaves normed queries and keys in float32
        if q.device.type == "cpu" and q.dtype in (torch.float32, torch.float64, torch.bfloat16):
            if self._mask.dtype != q.dtype or not len(self._mask):
                longest = max(sum(s.stop - s.start for s in p) for _, p in _paths(self.spans))
                self._mask = _staircase(longest, q.dtype)
            # [group, kv_heads, T, d]: query heads of one kv head lie along the batch axis, where
            # keys and values are repeated by stride, without a copy.
            grouped = q.unflatten(0, (len(k), -1)).transpose(0, 1)
            out = _ForestAttention.apply(grouped, k, v, self.spans, self._mask, scale)
            return out.permute(2, 1, 0, 3).flatten(1, 2)
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
        for span, path in _paths(self.spans):
            keys, values = (_along(x, path) for x in (k, v))
            size = span.stop - span.start
            mask = None
            if keys.shape[1] > size:
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
    """The flash kernel on each span, by blocks of queries. q: [group, kv_heads, T, d]."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, spans: list[Span], mask: Tensor, scale: float
    ) -> Tensor:
        group, heads, tokens, size = q.shape
        out = q.new_empty(tokens, heads, group, size).permute(2, 1, 0, 3)
        lse = q.new_empty(q.shape[:3], dtype=_lse_dtype(q))
        for span, path in _paths(spans):
            keys, values = (_along(x, path).expand(group, -1, -1, -1) for x in (k, v))
            for rows, seen in _blocks(span, keys.shape[2]):
                out[:, :, rows], lse[:, :, rows] = _flash(
                    q[:, :, rows],
                    keys[:, :, :seen],
                    values[:, :, :seen],
                    attn_mask=_steps(mask, rows, seen),
                    scale=scale,
                )
        ctx.save_for_backward(q, k, v, out, lse, mask)
        ctx.spans, ctx.scale = spans, scale
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, out, lse, mask = ctx.saved_tensors
        d_q, d_k, d_v = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        for span, path in _paths(ctx.spans):
            keys, values = (_along(x, path).expand(len(q), -1, -1, -1) for x in (k, v))
            sums: list[Tensor] = []
            for rows, seen in _blocks(span, keys.shape[2]):  # from the last one, which sees all
                d_q[:, :, rows], *parts = _flash_backward(
                    grads[0][:, :, rows],
                    q[:, :, rows],
                    keys[:, :, :seen],
                    values[:, :, :seen],
                    out[:, :, rows],
                    lse[:, :, rows],
                    attn_mask=_steps(mask, rows, seen),
                    scale=ctx.scale,
                )
                sums = sums or parts
                for total, part in zip(sums, parts, strict=True):
                    if part is not total:
                        total[:, :, :seen] += part
            for d, total in zip((d_k, d_v), sums, strict=True):
                parts = total.sum(0).split([s.stop - s.start for s in path], 1)
                for at, part in zip(path, parts, strict=True):
                    d[:, at] += part
        return d_q, d_k, d_v, None, None, None


def _flash(q: Tensor, k: Tensor, v: Tensor, **options: Any) -> tuple[Tensor, Tensor]:
    kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    return kernel(q, k, v, 0.0, False, **options)


def _flash_backward(*tensors: Tensor, **options: Any) -> tuple[Tensor, Tensor, Tensor]:
    kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
    return kernel(*tensors, 0.0, False, **options)


def _paths(spans: list[Span]) -> Iterator[tuple[Span, list[slice]]]:
    """Each span with what it sees, from the root to itself; neighbours are one slice."""
    open_spans: list[Span] = []
    for span in spans:
        while open_spans and open_spans[-1].end <= span.start:
            open_spans.pop()
        open_spans.append(span)
        path: list[slice] = []
        for s in open_spans:
            start = path.pop().start if path and path[-1].stop == s.start else s.start
            path.append(slice(start, s.stop))
        yield span, path


def _along(x: Tensor, path: list[slice]) -> Tensor:
    """[heads, keys, d], what lies on a path; no copy where that is one piece."""
    return x[:, path[0]] if len(path) == 1 else torch.cat([x[:, at] for at in path], 1)


def _blocks(span: Span, keys: int) -> Iterator[tuple[slice, int]]:
    """Blocks of a span's queries and how many of its path's keys they see, from the last one."""
    for start in reversed(range(span.start, span.stop, BLOCK)):
        stop = min(start + BLOCK, span.stop)
        yield slice(start, stop), keys - (span.stop - stop)


def _staircase(keys: int, dtype: torch.dtype) -> Tensor:
    """[BLOCK, keys + BLOCK], of which `_steps` cuts out every causal mask that is needed."""
    mask = torch.full((BLOCK, keys + BLOCK), -torch.inf, dtype=dtype)
    return mask.triu(keys + 1)


def _steps(mask: Tensor, rows: slice, seen: int) -> Tensor:
    """[n, seen], zero where query i of the last n sees key j <= seen - n + i, else -inf."""
    n = rows.stop - rows.start
    first = mask.shape[1] - BLOCK - (seen - n)
    return mask[:n, first : first + seen]


def _lse_dtype(q: Tensor) -> torch.dtype:
    return torch.float64 if q.dtype == torch.float64 else torch.float32
