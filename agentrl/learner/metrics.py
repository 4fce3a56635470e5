"""What is measured of an update, outside every loss. Each mean has its own denominator."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch

from agentrl.learner.losses import clip_bounds
from agentrl.learner.settings import Coefficient

Tensor = torch.Tensor


class Meter:
    """Sums, counts and maxima by name; `result` divides."""

    def __init__(self) -> None:
        self._sum: dict[str, float] = defaultdict(float)
        self._count: dict[str, float] = defaultdict(float)
        self._max: dict[str, float] = {}

    def mean(self, name: str, values: Tensor) -> None:
        """`values` [n] enter the mean of `name`."""
        self._sum[name] += float(values.sum())
        self._count[name] += values.numel()

    def add(self, name: str, value: float) -> None:
        """`value` is added to the sum of `name`."""
        self._sum[name] += value
        self._count[name] = 1.0

    def top(self, name: str, values: Tensor) -> None:
        """`values` [n] enter the maximum of `name`."""
        if values.numel():
            self._max[name] = max(self._max.get(name, -np.inf), float(values.max()))

    def result(self) -> dict[str, float]:
        means = {n: s / self._count[n] for n, s in self._sum.items() if self._count[n]}
        return means | self._max


@torch.no_grad()
def measure_tokens(
    meter: Meter,
    *,
    logp: Tensor,
    entropy: Tensor,
    behave: Tensor,
    ratio: Tensor,
    factor: Tensor,
    advantage: Tensor,
    staleness: Tensor,
    coefficient: Coefficient,
) -> None:
    """Token metrics of one micro-batch; all arguments are [N] and detached.

    `kl_behaviour` is k3 of the behaviour policy against the trained one, on the sampled tokens;
    `mismatch_*` compare engine and trainer on them; `clip_low` and `clip_high` count the tokens
    whose gradient the clip takes away.
    """
    d = logp - behave
    importance = d.clamp(-20.0, 20.0).exp()
    meter.mean("entropy", entropy)
    meter.mean("ratio_mean", ratio)
    meter.top("ratio_max", ratio)
    meter.mean("kl_behaviour", importance - d - 1.0)
    meter.mean("mismatch_abs", d.abs())
    meter.top("mismatch_max", d.abs())
    meter.mean("mismatch_outside", ((importance > 1.1) | (importance < 0.9)).float())
    meter.mean("correction", factor)
    meter.mean("staleness", staleness.float())
    meter.top("staleness_max", staleness.float())
    low, high = clip_bounds(advantage, coefficient)
    clips = coefficient.kind in ("ppo_clip", "is_clip")
    both = coefficient.kind == "is_clip"
    too_low = (ratio < low) & ((advantage < 0) | both)
    too_high = (ratio > high) & ((advantage > 0) | both)
    meter.mean("clip_low", (too_low & clips).float())
    meter.mean("clip_high", (too_high & clips).float())


def measure_advantages(
    rewards: np.ndarray, advantage: np.ndarray, flat_groups: np.ndarray, infra: int
) -> dict[str, float]:
    """Metrics of the credit stage. `advantage` [K] is per turn, `rewards` [E] after stage 1."""
    return {
        "episodes": float(len(rewards)),
        "episodes_left_out": float(infra),
        "reward_mean": _stat(np.mean, rewards),
        "reward_std": _stat(np.std, rewards),
        "advantage_mean": _stat(np.mean, advantage),
        "advantage_std": _stat(np.std, advantage),
        "advantage_max": _stat(lambda a: np.abs(a).max(), advantage),
        "zero_variance_groups": _stat(np.mean, flat_groups),
    }


def average(metrics: Sequence[dict[str, float]]) -> dict[str, float]:
    """Mean over optimiser steps, key by key; maxima stay maxima, counts add up."""
    out: dict[str, float] = {}
    for name in dict.fromkeys(k for m in metrics for k in m):
        values = [m[name] for m in metrics if name in m]
        if name.endswith("_max"):
            out[name] = max(values)
        elif name.startswith("tokens_"):
            out[name] = sum(values)
        else:
            out[name] = sum(values) / len(values)
    return out


def _stat(function: object, values: np.ndarray) -> float:
    return float(function(values)) if len(values) else 0.0  # type: ignore[operator]
