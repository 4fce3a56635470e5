"""Lipschitz rewards: how steep a learned reward may be (paper 46)."""

from __future__ import annotations

from collections.abc import Callable

import torch

Model = Callable[[torch.Tensor], torch.Tensor]


def gradient_penalty(
    model: Model, x: torch.Tensor, k: float = 1.0, weight: float = 10.0, *, one_sided: bool = False
) -> torch.Tensor:
    """weight * E (||grad_x D(x)|| - k)^2, or of its positive part only. Differentiable.

    Args:
        x: float[B, F], where the reward is to be smooth.
    """
    x = x.detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
    over = gradient.norm(dim=-1) - k
    if one_sided:
        over = over.clamp(min=0)
    return weight * (over**2).mean()


@torch.no_grad()
def local_steepness(
    model: Model, x: torch.Tensor, radius: float = 1e-2, tries: int = 8, seed: int = 0
) -> float:
    """max ||D(x + d) - D(x)|| / ||d|| over random d of length `radius`: a lower bound of the local
    Lipschitz constant."""
    generator = torch.Generator().manual_seed(seed)
    best = 0.0
    for _ in range(tries):
        d = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        d = radius * d / d.norm(dim=-1, keepdim=True).clamp(min=1e-12)
        change = (model(x + d) - model(x)).abs().reshape(len(x), -1).amax(-1)
        best = max(best, float((change / radius).max()))
    return best


def value_steepness(reward: float, dynamics: float, gamma: float) -> float:
    """Bound of the value function: L_r / (1 - gamma L_f); infinite when gamma L_f >= 1."""
    return reward / (1 - gamma * dynamics) if gamma * dynamics < 1 else float("inf")
