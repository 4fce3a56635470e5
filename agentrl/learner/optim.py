"""The optimiser and its schedule."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch

from agentrl.learner.settings import LearnerSettings


def make_optimizer(
    parameters: Iterable[torch.nn.Parameter], s: LearnerSettings
) -> torch.optim.AdamW:
    """AdamW on what is trainable; weight decay spares vectors (norms, biases)."""
    trainable = [p for p in parameters if p.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.dim() > 1], "weight_decay": s.weight_decay},
        {"params": [p for p in trainable if p.dim() <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [g for g in groups if g["params"]],
        lr=s.learning_rate,
        betas=s.betas,
        eps=s.adam_epsilon,
        fused=True,
    )


def learning_rate(step: int, s: LearnerSettings) -> float:
    """The rate of optimiser step `step` (from 0): linear warm-up, then the schedule."""
    if step < s.warmup_steps:
        return s.learning_rate * (step + 1) / s.warmup_steps
    if s.schedule == "constant":
        return s.learning_rate
    assert s.total_steps is not None
    left = max(s.total_steps - s.warmup_steps, 1)
    done = min((step - s.warmup_steps) / left, 1.0)
    if s.schedule == "linear":
        return s.learning_rate * (1.0 - done)
    return s.learning_rate * 0.5 * (1.0 + math.cos(math.pi * done))
