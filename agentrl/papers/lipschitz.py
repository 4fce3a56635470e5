"""Paper 46: how steep a learned reward may be."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from agentrl.papers.kit.toys import listed, table
from agentrl.papers.registry import Measured
from agentrl.rewards.learned.smooth import gradient_penalty, local_steepness, value_steepness

CLAIM = (
    "The gradient penalty of w.x is 10 (||w|| - 1)^2 with its exact gradient; half the reward is "
    "half as steep; trained under the penalty a reward becomes as steep as it is allowed."
)


def run(seeds: Sequence[int]) -> Measured:
    cases = [("value bound, gamma .9, dynamics .5", 1 / 0.55, value_steepness(1.0, 0.5, 0.9))]
    for seed in seeds:
        torch.manual_seed(seed)
        w = torch.randn(4, dtype=torch.float64).requires_grad_(True)
        x = torch.randn(8, 4, dtype=torch.float64)
        penalty = gradient_penalty(lambda z, w=w: z @ w, x)  # type: ignore[misc]
        penalty.backward()
        norm = float(w.detach().norm())
        wanted = (20 * (norm - 1) * w / norm).tolist()
        assert w.grad is not None
        cases.append((f"seed {seed}: penalty", 10 * (norm - 1) ** 2, penalty.item()))
        cases += listed(f"seed {seed}: gradient", wanted, w.grad.tolist())
        fixed = w.detach()
        whole = local_steepness(lambda z, v=fixed: z @ v, x)  # type: ignore[misc]
        half = local_steepness(lambda z, v=fixed / 2: z @ v, x)  # type: ignore[misc]
        cases.append((f"seed {seed}: half as steep", whole / 2, half))
        cases.append((f"seed {seed}: trained to", 1.0, _trained(seed)))
    return table(cases, tolerance=0.05)


def _trained(seed: int) -> float:
    """The steepness of w.x after descent on the penalty alone, from five times too steep."""
    torch.manual_seed(seed)
    w = (5 * torch.nn.functional.normalize(torch.randn(4), dim=0)).requires_grad_(True)
    x = torch.randn(16, 4)
    optimizer = torch.optim.SGD([w], lr=0.02)
    for _ in range(100):
        optimizer.zero_grad()
        gradient_penalty(lambda z: z @ w, x).backward()
        optimizer.step()
    return float(w.detach().norm())
