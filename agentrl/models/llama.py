"""The decoder of the Llama family for training on a CPU: the same numbers, few passes over memory.

In transformers a layer is some forty operations, each of which reads and writes the activations
of all tokens; on a CPU that costs as much as the matrix products. Here it is three functions with
gradients in closed form. They go over the tokens in chunks that stay in cache, and keep for the
backward pass only what cannot be had again cheaply:

    norm    rms(x) * weight
    heads   h W, split into heads, these normed (Qwen3), and turned by their position
    feed    x + (silu(h G) * h U) D

`why_slow` says what a model has that this form has not; then its own forward pass, the slow twin,
is run.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.nn import functional as F

from agentrl.models.attention import Packing

Tensor = torch.Tensor
Grads = tuple[Tensor | None, ...]
FAMILIES = ("LlamaModel", "MistralModel", "Qwen2Model", "Qwen3Model")
CHUNK = 1 << 17
"""Numbers of a chunk for each thread, that is its tokens times the width of what they pass."""
LEAST = 128
"""Tokens of a chunk: fewer slow the matrix products down."""


def why_slow(model: Any) -> str:
    """Why a causal model must run its own forward pass; "" when `decode` can."""
    body, config = model.base_model, model.config
    if type(body).__name__ not in FAMILIES or not type(body).__module__.startswith("transformers."):
        return f"{type(body).__name__} is not one of {', '.join(FAMILIES)}"
    weight = body.embed_tokens.weight
    if weight.device.type != "cpu" or weight.dtype not in (torch.float32, torch.float64):
        return f"it computes in {weight.dtype} on {weight.device.type}"
    first = body.layers[0]
    parts = [m for m in (*first.self_attn.children(), *first.mlp.children()) if _has_weights(m)]
    odd = [type(m).__name__ for m in parts if type(m) is not torch.nn.Linear and not _is_norm(m)]
    if odd:
        return f"its layers hold {odd[0]} (adapters, quantised weights)"
    if config.hidden_act != "silu" or getattr(config, "mlp_bias", False):
        return "its feed-forward layers are no plain SwiGLU"
    if 2 * len(body.rotary_emb.inv_freq) != first.self_attn.head_dim:
        return "its rotary embedding turns a part of each head"
    if body.gradient_checkpointing or (body.training and config.attention_dropout):
        return "gradient checkpointing or dropout is on"
    return ""


def decode(body: Any, tokens: Tensor, position: Tensor, packing: Packing) -> Tensor:
    """[T, d], the final hidden states of packed tokens int64[T] at positions int64[T].

    Args:
        body: `model.base_model` of a model for which `why_slow` has no reason.
    """
    x = body.embed_tokens(tokens)
    cos, sin = (t[0, :, None, : t.shape[-1] // 2] for t in body.rotary_emb(x[None], position[None]))
    turn = torch.complex(cos, sin)
    for i, layer in enumerate(body.layers):
        a, mlp = layer.self_attn, layer.mlp
        h = _norm(x, layer.input_layernorm)
        q = _heads(h, a.q_proj, getattr(a, "q_norm", None), turn)
        k = _heads(h, a.k_proj, getattr(a, "k_norm", None), turn)
        v = a.v_proj(h).view(k.shape)
        q, k, v = (y.transpose(0, 1) for y in (q, k, v))
        out = packing.attend(i, q, k, v, a.scaling)
        x = x + a.o_proj(out.reshape(len(x), -1))
        h = _norm(x, layer.post_attention_layernorm)
        x = _Feed.apply(x, h, mlp.gate_proj.weight, mlp.up_proj.weight, mlp.down_proj.weight)
    return _norm(x, body.norm)


def _norm(x: Tensor, module: Any) -> Tensor:
    return _Norm.apply(x, module.weight, module.variance_epsilon)


def _heads(h: Tensor, linear: Any, norm: Any, turn: Tensor) -> Tensor:
    weight, epsilon = (None, 0.0) if norm is None else (norm.weight, norm.variance_epsilon)
    return _Heads.apply(h, linear.weight, linear.bias, weight, epsilon, turn)


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        out, rms = torch.empty_like(x), x.new_empty(len(x), 1)
        for cut in _chunks(x, x.shape[1]):
            rms[cut] = _inverse_rms(x[cut], epsilon)
            torch.mul(x[cut], rms[cut], out=out[cut]).mul_(weight)
        ctx.save_for_backward(x, weight, rms)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Grads:
        x, weight, rms = ctx.saved_tensors
        d_x, d_weight = torch.empty_like(x), torch.zeros_like(weight)
        for cut in _chunks(x, x.shape[1]):
            d_x[cut] = _back_through_norm(
                grads[0][cut], x[cut] * rms[cut], rms[cut], weight, d_weight
            )
        return d_x, d_weight, None


class _Heads(torch.autograd.Function):
    """[T, heads, size] of h [T, d]. The two halves of a head that are turned against each other are
    laid out in pairs, so that a turn is one complex product: scores do not depend on the order
    of features, as long as queries and keys have the same."""

    @staticmethod
    def forward(
        ctx: Any,
        h: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        norm: Tensor | None,
        epsilon: float,
        turn: Tensor,
    ) -> Tensor:
        size = 2 * turn.shape[-1]
        weight = _pairs(weight, size)
        bias, norm = (None if x is None else _pairs(x, size) for x in (bias, norm))
        raw = h.new_empty(len(h), len(weight) // size, size)
        out, rms = raw if norm is None else torch.empty_like(raw), raw.new_empty(*raw.shape[:2], 1)
        for cut in _chunks(h, len(weight)):
            torch.mm(h[cut], weight.T, out=raw[cut].view(-1, len(weight)))
            if bias is not None:
                raw[cut].view(-1, len(weight)).add_(bias)
            if norm is not None:
                rms[cut] = _inverse_rms(raw[cut], epsilon)
                torch.mul(raw[cut].mul_(rms[cut]), norm, out=out[cut])
            _complex(out[cut]).mul_(turn[cut])
        ctx.save_for_backward(h, weight, bias, norm, turn, raw, rms)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Grads:
        h, weight, bias, norm, turn, raw, rms = ctx.saved_tensors
        size = raw.shape[-1]
        d_h, d_weight = torch.empty_like(h), torch.zeros_like(weight)
        d_bias, d_norm = (None if x is None else torch.zeros_like(x) for x in (bias, norm))
        back = turn.conj_physical()
        for cut in _chunks(h, len(weight)):
            d = torch.view_as_real(_complex(grads[0][cut]) * back[cut]).flatten(2)
            if d_norm is not None:
                d = _back_through_norm(d, raw[cut], rms[cut], norm, d_norm)
            d = d.reshape(-1, len(weight))
            torch.mm(d, weight, out=d_h[cut])
            d_weight.addmm_(d.T, h[cut])
            if d_bias is not None:
                d_bias += d.sum(0)
        d_weight = _halves(d_weight, size)
        d_bias, d_norm = (None if x is None else _halves(x, size) for x in (d_bias, d_norm))
        return d_h, d_weight, d_bias, d_norm, None, None


class _Feed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, h: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
        out, g, u = torch.empty_like(x), *(x.new_empty(len(x), len(gate)) for _ in range(2))
        for cut in _chunks(x, len(gate)):
            torch.mm(h[cut], gate.T, out=g[cut])
            torch.mm(h[cut], up.T, out=u[cut])
            torch.addmm(x[cut], F.silu(g[cut]).mul_(u[cut]), down.T, out=out[cut])
        ctx.save_for_backward(h, gate, up, down, g, u)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Grads:
        h, gate, up, down, gs, us = ctx.saved_tensors
        d_h = torch.empty_like(h)
        # These two transposed: the product is faster with the long side last.
        d_gate, d_up = (
            torch.zeros_like(w.T, memory_format=torch.contiguous_format) for w in (gate, up)
        )
        d_down = torch.zeros_like(down)
        for cut in _chunks(h, len(gate)):
            d_out, g, u = grads[0][cut], gs[cut], us[cut]
            act = F.silu(g)
            d = d_out @ down
            d_down.addmm_(d_out.T, act * u)
            d_u = act.mul_(d)
            d_g = torch.ops.aten.silu_backward(d.mul_(u), g)
            d_gate.addmm_(h[cut].T, d_g)
            d_up.addmm_(h[cut].T, d_u)
            torch.mm(d_g, gate, out=d_h[cut]).addmm_(d_u, up)
        return grads[0], d_h, d_gate.T, d_up.T, d_down


def _inverse_rms(x: Tensor, epsilon: float) -> Tensor:
    return torch.linalg.vecdot(x, x).div_(x.shape[-1]).add_(epsilon).rsqrt_()[..., None]


def _back_through_norm(
    d: Tensor, normed: Tensor, rms: Tensor, weight: Tensor, d_weight: Tensor
) -> Tensor:
    """The gradient of x, of which `normed` = x * rms; that of the weight is added to `d_weight`."""
    slope = d * normed
    d_weight += slope.flatten(0, -2).sum(0)
    mean = (slope @ weight)[..., None].div_(len(weight))
    return (d * weight).addcmul_(normed, mean, value=-1).mul_(rms)


def _pairs(x: Tensor, size: int) -> Tensor:
    """Rows of heads of `size` features: 0 1 2 | 3 4 5 -> 0 3 1 4 2 5."""
    return x.view(-1, 2, size // 2, *x.shape[1:]).transpose(1, 2).reshape(x.shape)


def _halves(x: Tensor, size: int) -> Tensor:
    return x.view(-1, size // 2, 2, *x.shape[1:]).transpose(1, 2).reshape(x.shape)


def _complex(x: Tensor) -> Tensor:
    return torch.view_as_complex(x.unflatten(-1, (-1, 2)))


def _chunks(x: Tensor, width: int) -> Iterator[slice]:
    step = max(CHUNK // width, LEAST) * torch.get_num_threads()
    return (slice(start, start + step) for start in range(0, len(x), step))


def _has_weights(module: torch.nn.Module) -> bool:
    return next(module.parameters(), None) is not None


def _is_norm(module: torch.nn.Module) -> bool:
    return type(module).__name__.endswith("RMSNorm")
