"""Log-probability and entropy of trained tokens, without ever holding logits that are not needed.

`hidden` holds one line per trained token, so the head never sees an observation. The fast path
keeps one buffer of N x V probabilities (or none beyond the budget: they are computed again in
the backward pass); `naive_token_logprobs` is its slow twin.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

Tensor = torch.Tensor
CHUNK = {"cpu": 1 << 17, "cuda": 1 << 26}
"""Logits per matrix product of the head: on a CPU, what its cache holds through all passes."""


def token_logprobs(
    hidden: Tensor, head: torch.nn.Module, target: Tensor, *, logit_budget: int = 1 << 26
) -> tuple[Tensor, Tensor]:
    """log pi(target | context) and the entropy of pi, both float32[N] (float64 if hidden is).

    Args:
        hidden: [N, d], the states that predict `target`: int64[N].
        head: the language-model head; anything but a plain linear layer takes the slow path.
        logit_budget: logits (N x V) kept for the backward pass.
    """
    if type(head) is not torch.nn.Linear:
        return naive_token_logprobs(hidden, head, target)
    bias = head.bias if head.bias is not None else hidden.new_zeros(())
    keep = hidden.shape[0] * head.weight.shape[0] <= logit_budget
    with torch.autocast(hidden.device.type, enabled=False):
        logp, entropy = _LinearLogProbs.apply(hidden, head.weight, bias, target, keep)
    return logp, entropy


def naive_token_logprobs(
    hidden: Tensor, head: torch.nn.Module, target: Tensor
) -> tuple[Tensor, Tensor]:
    """The slow twin: the whole log-softmax, by autograd."""
    logps = _log_softmax(head(hidden))
    entropy = -(logps.exp() * logps).sum(-1)
    return logps.gather(1, target[:, None])[:, 0], entropy


@torch.no_grad()
def tempered_logprobs(
    hidden: Tensor, head: torch.nn.Module, target: Tensor, power: Tensor
) -> Tensor:
    """[N], log of softmax(power * logits) at the target: pi ** power, renormalised exactly."""
    parts = []
    for cut in _cuts(hidden, head):
        logps = _log_softmax(head(hidden[cut]), power[cut])
        parts.append(logps.gather(1, target[cut, None])[:, 0])
    return torch.cat(parts)


def full_divergence(
    hidden: Tensor,
    head: torch.nn.Module,
    other_hidden: Tensor,
    other_head: torch.nn.Module,
    *,
    direction: str,
    power: Tensor | None = None,
    mix: float = 0.5,
    top: int | None = None,
) -> Tensor:
    """[N], exact over the vocabulary: KL(policy || other) if `reverse`, KL(other || policy) if
    `forward`; `jsd` is (1 - mix) KL(policy || m) + mix KL(other || m), m the mixture of the two
    with `mix` of the other (SDPO; Agarwal et al. 2024, generalised Jensen-Shannon).

    `other` gets no gradient; its logits are multiplied by `power` [N] first. A chunk's logits
    live only while its part is computed, forward or backward. `top` looks at that many most likely
    tokens of the policy, and at all others as one.
    """

    def part(h: Tensor, o: Tensor, scale: Tensor | None) -> Tensor:
        mine = _log_softmax(head(h))
        with torch.no_grad():
            theirs = _log_softmax(other_head(o.to(h.dtype)), scale)
        if top is not None and top < mine.shape[-1]:
            best = mine.detach().topk(top, -1).indices
            mine, theirs = (with_tail(p.gather(-1, best)) for p in (mine, theirs))
        return distance(mine, theirs, direction, mix)

    parts = []
    for cut in _cuts(hidden, head):
        scale = None if power is None else power[cut]
        parts.append(checkpoint(part, hidden[cut], other_hidden[cut], scale, use_reentrant=False))
    return torch.cat(parts)


def distance(mine: Tensor, theirs: Tensor, direction: str, mix: float = 0.5) -> Tensor:
    """[N], a divergence of two log-distributions [N, V]; see `full_divergence`."""
    if direction == "reverse":
        return (mine.exp() * (mine - theirs)).sum(-1)
    if direction == "forward":
        return (theirs.exp() * (theirs - mine)).sum(-1)
    middle = torch.logaddexp(mine + math.log(1.0 - mix), theirs + math.log(mix))
    own = (mine.exp() * (mine - middle)).sum(-1)
    return (1.0 - mix) * own + mix * (theirs.exp() * (theirs - middle)).sum(-1)


def with_tail(logps: Tensor) -> Tensor:
    """[N, k + 1], the log-probabilities of k tokens and of all others together."""
    rest = 1.0 - logps.exp().sum(-1, keepdim=True)
    return torch.cat([logps, rest.clamp(min=torch.finfo(logps.dtype).tiny).log()], -1)


class _LinearLogProbs(torch.autograd.Function):
    """d logp / d z = onehot - p;  d H / d z = -p (log p + H), by chunks of tokens."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, target: Tensor, keep: bool
    ) -> tuple[Tensor, Tensor]:
        h, w, b = _compute(hidden, weight, bias)
        logp = h.new_empty(len(target))
        entropy = h.new_empty(len(target))
        kept = h.new_empty(len(h) if keep else 0, len(w))
        for cut in _cuts(hidden, weight):
            p = kept[cut] if keep else None
            _, logp[cut], entropy[cut] = _chunk(h[cut], w, b, target[cut], p)
        ctx.save_for_backward(hidden, weight, bias, target, entropy, kept)
        return logp, entropy

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """The part of p is by chunks; that of the onehot is a lookup of rows."""
        g, g_entropy = (each[:, None] for each in grads)
        hidden, weight, bias, target, entropy, kept = ctx.saved_tensors
        h, w, b = _compute(hidden, weight, bias)
        needs_h, needs_w, needs_b = ctx.needs_input_grad[:3]
        d_h = torch.empty_like(h) if needs_h else None
        d_w = torch.zeros_like(w) if needs_w else None
        d_b = torch.zeros_like(b) if needs_b else None
        bends = bool(g_entropy.any())
        # Without entropy p enters as it is, and g scales the narrow side of each product.
        scale = torch.ones_like(g) if bends else g
        scaled = h * scale
        for cut in _cuts(hidden, weight, chunks=4 if len(kept) else 1):
            p = kept[cut] if len(kept) else _chunk(h[cut], w, b, target[cut])[0]
            if bends:
                slope = torch.log(p.clamp(min=1e-38)).add_(entropy[cut, None])
                p = p * slope.mul_(g_entropy[cut]).add_(g[cut])
            if d_h is not None:
                torch.mm(p, w, out=d_h[cut])
            if d_w is not None:
                d_w.addmm_(p.T, scaled[cut], alpha=-1)
            if d_b is not None and d_b.dim():
                d_b.addmv_(p.T, scale[cut, 0], alpha=-1)
        if d_h is not None:
            d_h = (w[target] * g).sub_(d_h.mul_(scale))
        if d_w is not None:
            d_w.index_add_(0, target, h * g)
        if d_b is not None and d_b.dim():
            d_b.index_add_(0, target, g[:, 0])
        return _as(d_h, hidden), _as(d_w, weight), _as(d_b, bias), None, None


def _chunk(
    h: Tensor, w: Tensor, b: Tensor, target: Tensor, out: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Probabilities [n, V] (into `out`), log-probability and entropy [n] of one chunk."""
    z = h @ w.T
    if b.dim():
        z += b
    p = torch.softmax(z, -1, out=out)
    total = z.amax(-1) - p.amax(-1).log()
    logp = z.gather(1, target[:, None])[:, 0] - total
    return p, logp, total - z.mul_(p).sum(-1)


def _cuts(hidden: Tensor, head: torch.nn.Module | Tensor, chunks: int = 1) -> list[slice]:
    weight = head if isinstance(head, Tensor) else getattr(head, "weight", hidden)
    budget = CHUNK.get(hidden.device.type, CHUNK["cuda"])
    rows = max(chunks * budget // max(weight.shape[0], 1), 1)
    return [slice(start, start + rows) for start in range(0, len(hidden), rows)]


def _log_softmax(logits: Tensor, power: Tensor | None = None) -> Tensor:
    (full,) = _compute(logits)
    return F.log_softmax(full if power is None else full * power[:, None], dim=-1)


def _compute(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Half precision is widened: logits rounded to bfloat16 move 7% of ratios by over 10%."""
    return tuple(t if t.dtype == torch.float64 else t.float() for t in tensors)


def _as(grad: Tensor | None, like: Tensor) -> Tensor | None:
    return None if grad is None else grad.to(like.dtype)
