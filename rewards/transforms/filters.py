"""Leave out groups that teach little: too little spread, or too one-sided."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from agentrl.rewards.transforms.base import Batch


@dataclass(slots=True)
class StdFilter:
    """Groups whose reward std is below kappa * EMA abstain (RLPR, paper 26).

    EMA: of the mean group std over steps, ratio 0.99, begun at step `begin` (its first value being
    that step's mean) and filtering from step `filter_from`, both counted from 1.
    """

    kappa: float = 0.5
    ratio: float = 0.99
    begin: int = 6
    filter_from: int = 11
    name: str = "std_filter"
    _step: int = field(default=0, init=False)
    _ema: float | None = field(default=None, init=False)

    def apply(self, batch: Batch) -> dict[str, float]:
        self._step += 1
        groups = batch.by_group()
        stds = [float(batch.values[m].std()) for m in groups]
        mean = float(np.mean(stds)) if stds else 0.0
        if self._step >= self.begin and stds:
            before = self._ema
            self._ema = mean if before is None else moved(before, mean, self.ratio)
        threshold = self.kappa * (self._ema or 0.0)
        if self._step >= self.filter_from:
            for members, std in zip(groups, stds, strict=True):
                if std < threshold:
                    batch.keep[members] = False
        return {"std": mean, "threshold": threshold}

    def state_dict(self) -> dict[str, Any]:
        return {"step": self._step, "ema": self._ema}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._step, self._ema = state["step"], state["ema"]


def moved(ema: float, value: float, ratio: float) -> float:
    """ratio * ema + (1 - ratio) * value."""
    return ratio * ema + (1.0 - ratio) * value


@dataclass(slots=True)
class SkewFilter:
    """Groups with |sum of rewards| / size over `most` abstain (BRPO, paper 53)."""

    most: float = 0.6
    name: str = "skew_filter"

    def apply(self, batch: Batch) -> dict[str, float]:
        skews = []
        for members in batch.by_group():
            skews.append(abs(float(batch.values[members].sum())) / len(members))
            if skews[-1] > self.most:
                batch.keep[members] = False
        return {"skew": float(np.mean(skews)) if skews else 0.0}
