"""The optimiser, its schedule, and the one place where weights change."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import Parameter
from torch.nn.utils import clip_grad_norm_

from agentrl.learner.rows import LearnerError
from agentrl.learner.settings import LearnerSettings

Named = Sequence[tuple[str, Parameter]]


def make_optimizer(policy: Named, critic: Named, s: LearnerSettings) -> torch.optim.AdamW:
    """AdamW; weight decay spares vectors (norms, biases); the critic has a rate of its own."""
    critic_rate = s.critic.learning_rate if s.critic else 0.0
    groups = [
        {
            "params": [p for _, p in named if (p.dim() > 1) == matrix],
            "base": rate,
            "weight_decay": s.weight_decay if matrix else 0.0,
        }
        for named, rate in ((policy, s.learning_rate), (critic, critic_rate))
        for matrix in (True, False)
    ]
    return torch.optim.AdamW(
        [g for g in groups if g["params"]],
        lr=s.learning_rate,
        betas=s.betas,
        eps=s.adam_epsilon,
        fused=True,
    )


def restore(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Take moments over. Rates and decay are settings, which a resumed run may have changed."""
    settings = [{k: v for k, v in g.items() if k != "params"} for g in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, mine in zip(optimizer.param_groups, settings, strict=True):
        group.update(mine)


def schedule_factor(step: int, s: LearnerSettings) -> float:
    """What the learning rate is multiplied by at optimiser step `step` (from 0)."""
    if step < s.warmup_steps:
        return (step + 1) / s.warmup_steps
    if s.schedule == "constant":
        return 1.0
    assert s.total_steps is not None
    left = max(s.total_steps - s.warmup_steps, 1)
    done = min((step - s.warmup_steps) / left, 1.0)
    return 1.0 - done if s.schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))


def clip_and_step(
    optimizer: torch.optim.Optimizer,
    policy: Sequence[Parameter],
    critic: Sequence[Parameter],
    step: int,
    s: LearnerSettings,
) -> dict[str, float]:
    """Clip policy and critic apart, then move. Norms are before clipping.

    Raises:
        LearnerError: a gradient is not finite; nothing has moved.
    """
    limit = s.max_grad_norm or float("inf")
    norms = {"grad_norm": clip_grad_norm_(policy, limit)}
    if critic:
        norms["critic_grad_norm"] = clip_grad_norm_(critic, limit)
    for name, norm in norms.items():
        if not torch.isfinite(norm):
            raise LearnerError(
                f"the {name} is {float(norm)} at optimiser step {step}",
                fix="no optimiser step was made; lower the learning rate or use float32",
            )
    factor = schedule_factor(step, s)
    for group in optimizer.param_groups:
        group["lr"] = group["base"] * factor
    optimizer.step()
    moved = {name: float(norm) for name, norm in norms.items()}
    return moved | {"learning_rate": s.learning_rate * factor, "optimizer_steps": 1.0}
