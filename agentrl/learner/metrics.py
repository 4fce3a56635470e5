"""What is measured of an update, outside every loss. Each mean has its own denominator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from agentrl.learner.credit import TurnTable, zero_variance
from agentrl.learner.losses import LIMIT, clip_bounds
from agentrl.learner.rows import Row
from agentrl.learner.settings import Coefficient

if TYPE_CHECKING:
    from agentrl.learner.objective import Objective, Tokens

Tensor = torch.Tensor


class Meter:
    """Sums, counts and maxima by name; a mean is divided by its own count, at the end."""

    def __init__(self) -> None:
        self._sum: dict[str, float] = {}
        self._count: dict[str, float] = {}
        self._max: dict[str, float] = {}

    def mean(self, name: str, values: Tensor) -> None:
        """`values` [n] enter the mean of `name`."""
        self._sum[name] = self._sum.get(name, 0.0) + float(values.sum())
        self._count[name] = self._count.get(name, 0.0) + values.numel()

    def add(self, name: str, value: float) -> None:
        """`value` is added to the sum of `name`."""
        self._sum[name] = self._sum.get(name, 0.0) + value

    def top(self, name: str, values: Tensor) -> None:
        """`values` [n] enter the maximum of `name`."""
        if values.numel():
            self._max[name] = max(self._max.get(name, -np.inf), float(values.max()))

    @classmethod
    def merge(cls, meters: Sequence[Meter]) -> Meter:
        """One meter of many ranks'."""
        out = cls()
        for m in meters:
            for into, part in ((out._sum, m._sum), (out._count, m._count)):
                for name, value in part.items():
                    into[name] = into.get(name, 0.0) + value
            for name, value in m._max.items():
                out._max[name] = max(out._max.get(name, -np.inf), value)
        return out

    def result(self) -> dict[str, float]:
        means = {n: s / (self._count.get(n) or 1.0) for n, s in self._sum.items()}
        return means | self._max


@torch.no_grad()
def measure(
    meter: Meter, t: Tokens, out: Objective, coefficient: Coefficient, version: int
) -> None:
    """What one micro-batch says of itself."""
    meter.add("loss", float(out.loss))
    meter.add("tokens_trained", len(t.logp))
    meter.add("tokens_processed", len(t.batch.tokens))
    meter.add("tokens_in_rows", sum(len(r) for r in t.batch.rows))
    for name, values in out.means.items():
        meter.mean(name, values)
    for name, value in out.sums.items():
        meter.add(name, float(value))
    if len(out.ratio):
        _measure_sampled(meter, t.of(""), out, coefficient, version)


def _measure_sampled(
    meter: Meter, t: Tokens, out: Objective, coefficient: Coefficient, version: int
) -> None:
    """Token metrics of a policy loss.

    `kl_behaviour` is k3 of the behaviour policy against the trained one, on the sampled tokens;
    `mismatch_*` compare engine and trainer on them; `clip_low` and `clip_high` count tokens
    beyond the clip on the side where it acts.
    """
    d = t.logp - t.get("behave")
    importance = d.clamp(-LIMIT, LIMIT).exp()
    meter.mean("ratio_mean", out.ratio)
    meter.top("ratio_max", out.ratio)
    meter.mean("kl_behaviour", importance - d - 1.0)
    meter.mean("mismatch_abs", d.abs())
    meter.top("mismatch_max", d.abs())
    meter.mean("mismatch_outside", ((importance > 1.1) | (importance < 0.9)).double())
    meter.mean("correction", out.factor)
    staleness = (version - t.batch.gather("version", torch.int64)).double()
    meter.mean("staleness", staleness)
    meter.top("staleness_max", staleness)
    advantage = t.get("advantage")
    low, high = clip_bounds(advantage, coefficient)
    clips = coefficient.kind in ("ppo_clip", "is_clip")
    both = coefficient.kind == "is_clip"
    too_low = (out.ratio < low) & ((advantage < 0) | both)
    too_high = (out.ratio > high) & ((advantage > 0) | both)
    parts = {
        "clip_low": (too_low & clips).double(),
        "clip_high": (too_high & clips).double(),
        "entropy": t.entropy,
    }
    for name, values in parts.items():
        meter.mean(name, values)
    _by_turn(meter, t.batch.gather("turn", torch.int64), parts)


def _by_turn(meter: Meter, turn: Tensor, parts: dict[str, Tensor]) -> None:
    """Means over the turns 0, 1, 2 to 3, 4 to 7, ... of episodes, as `clip_low/turns_2_3`; clips
    and entropy differ along an episode, and late turns are few. Not for batches of one turn."""
    last = int(turn.max()) if len(turn) else 0
    low, high = 0, 1
    while last > 0 and low <= last:
        inside = (turn >= low) & (turn < high)
        label = f"turn_{low}" if high == low + 1 else f"turns_{low}_{high - 1}"
        for name, values in parts.items():
            if bool(inside.any()):
                meter.mean(f"{name}/{label}", values[inside])
        low, high = high, 2 * high


def measure_credit(table: TurnTable, rows: Sequence[Row], left_out: int) -> dict[str, float]:
    """Metrics of the credit stage; advantages are of all trained tokens, skipped ones too."""
    advantage = np.concatenate([r.advantage for r in rows] or [np.zeros(1)])
    reward = table.outcome if len(table.outcome) else np.zeros(1)
    flat = zero_variance(table)
    return {
        "episodes": float(len(table.outcome)),
        "episodes_left_out": float(left_out),
        "reward_mean": float(reward.mean()),
        "reward_std": float(reward.std()),
        "advantage_mean": float(advantage.mean()),
        "advantage_std": float(advantage.std()),
        "advantage_max": float(np.abs(advantage).max()),
        "zero_variance_groups": float(flat.mean()) if len(flat) else 0.0,
    }


def average(metrics: Sequence[dict[str, float]]) -> dict[str, float]:
    """Over optimiser steps: maxima stay maxima, counts add up, the rest is a mean."""
    out: dict[str, float] = {}
    for name in dict.fromkeys(k for m in metrics for k in m):
        values = [m[name] for m in metrics if name in m]
        if name.endswith("_max"):
            out[name] = max(values)
        elif name.startswith("tokens_") or name == "optimizer_steps":
            out[name] = sum(values)
        else:
            out[name] = sum(values) / len(values)
    return out
