"""Paper 57, RLFR: hidden states that leave the flow of accepted reasoning."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from agentrl.papers.kit.toys import listed, table
from agentrl.papers.registry import Measured
from agentrl.rewards.learned.flow import (
    Velocity,
    deviation,
    flow_loss,
    flow_rewards,
    scaled_deviations,
    time_weight,
)

CLAIM = (
    "Deviations .1, .7, 1 contribute 0, -.007, -.01; at most 15 count; equal ones change nothing; "
    "fitted on one cluster of states, states off it deviate more."
)


def _gap(seed: int) -> float:
    """Mean deviation off the cluster over that on it, after fitting on the cluster."""
    generator = torch.Generator().manual_seed(seed)
    centre, size = torch.randn(8, generator=generator), 8
    field = Velocity(size, hidden=64, seed=seed)
    optimizer = torch.optim.Adam(field.parameters(), lr=3e-3)
    near = centre + 0.1 * torch.randn(256, size, generator=generator)
    condition = torch.zeros(256, size)
    for _ in range(200):
        loss = flow_loss(field, near, condition, generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    far = near + 2.0
    noise = [torch.Generator().manual_seed(seed) for _ in range(2)]
    d = [deviation(field, x, condition, g).mean() for x, g in zip((near, far), noise, strict=True)]
    return float(d[1] / d[0])


def run(seeds: Sequence[int]) -> Measured:
    cases = listed(
        "normalised .1, .7, 1",
        [0, -0.007, -0.01],
        scaled_deviations(np.array([0.1, 0.7, 1.0])).tolist(),
    )
    many = scaled_deviations(np.linspace(0.7, 1.0, 20))
    cases += [
        ("of 20 above the threshold count", 15.0, float((many != 0).sum())),
        ("weight at t = .5", 1.0, time_weight(0.5)),
        ("weight at t = .8", 4.0, time_weight(0.8)),
        ("equal deviations", 0.0, float(np.abs(flow_rewards(np.full(9, 3.0))).sum())),
    ]
    for seed in seeds:
        cases.append((f"seed {seed}: off the cluster deviates more", 1.0, float(_gap(seed) > 1.5)))
    return table(cases)
