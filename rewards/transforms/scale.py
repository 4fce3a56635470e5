"""Clip, subtract a baseline, standardise, fade out."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from agentrl.core import Score
from agentrl.rewards.transforms.base import Batch


def standardise(values: np.ndarray, ddof: int = 0) -> np.ndarray:
    """(x - mean) / std; zeros where there is one value or no variance."""
    values = np.asarray(values, np.float64)
    span = np.ptp(values) if len(values) else 0.0
    if len(values) <= ddof or span <= 1e-12 * max(float(np.abs(values).max(initial=0)), 1e-300):
        return np.zeros_like(values)
    return (values - values.mean()) / values.std(ddof=ddof)


@dataclass(slots=True)
class Clip:
    """Rewards held in [low, high]; metric: the share that was outside."""

    low: float = -1.0
    high: float = 1.0
    name: str = "clip"

    def apply(self, batch: Batch) -> dict[str, float]:
        outside = (batch.values < self.low) | (batch.values > self.high)
        batch.values = np.clip(batch.values, self.low, self.high)
        return {"clipped": float(outside.mean())}


@dataclass(slots=True)
class ZScore:
    """(r - mean) / std over the whole batch (paper 22) or inside each group; zeros when there is no
    variance. As the learner's group baseline would undo a shift, learn with {baseline: none}."""

    over: Literal["batch", "group"] = "batch"
    ddof: Literal[0, 1] = 0
    name: str = "z_score"

    def apply(self, batch: Batch) -> dict[str, float]:
        sets = [np.flatnonzero(batch.keep)] if self.over == "batch" else batch.by_group()
        flat = 0
        for members in sets:
            batch.values[members] = standardise(batch.values[members], self.ddof)
            flat += not batch.values[members].any()
        return {"without_variance": flat / len(sets) if sets else 0.0}


@dataclass(slots=True)
class Centre:
    """r minus the group's mean, its own reward left out of it when `leave_one_out`; 0 in groups of
    one."""

    leave_one_out: bool = False
    name: str = "centre"

    def apply(self, batch: Batch) -> dict[str, float]:
        for members in batch.by_group():
            values = batch.values[members]
            out = values - values.mean() if len(values) > 1 else np.zeros_like(values)
            n = len(values)
            batch.values[members] = out * (n / (n - 1)) if self.leave_one_out and n > 1 else out
        return {"mean_abs": float(np.abs(batch.values).mean())}


@dataclass(slots=True)
class Subtract:
    """max(floor, r - base), base the score `of` of the same episode (paper 26's debiasing); an
    episode without that score abstains: a missing base is not 0."""

    of: str
    floor: float = 0.0
    name: str = "subtract"

    def apply(self, batch: Batch) -> dict[str, float]:
        found = [e.scores.get(self.of) for e in batch.episodes]
        has = np.array([s is not None and not s.abstained for s in found])
        base = np.array([s.value if s is not None else 0.0 for s in found])
        batch.values = np.maximum(batch.values - base, self.floor)
        batch.keep &= has
        return {"base": float(base[has].mean()) if has.any() else 0.0}


@dataclass(slots=True)
class Fade:
    """Takes weight(step) off a dense part that the reward holds: r - (1 - c) * w * part.

    c falls from 1 to 0 over `steps` steps ("linear", "cosine"), so that a dense reward ends in the
    outcome alone (paper 63). `of` names the part's score, `weight` what it was multiplied by.
    With `check` the part is that check of the score instead of its value.
    """

    of: str
    steps: int
    weight: float = 1.0
    form: Literal["linear", "cosine"] = "linear"
    check: str = ""
    name: str = "fade"
    _step: int = field(default=0, init=False)

    def apply(self, batch: Batch) -> dict[str, float]:
        c = decay(self._step, self.steps, self.form)
        self._step += 1
        part = np.array([self._part(e.scores.get(self.of)) for e in batch.episodes])
        total = np.abs(batch.values).mean()
        batch.values = batch.values - (1.0 - c) * self.weight * part
        share = c * self.weight * np.abs(part).mean() / total if total else 0.0
        return {"coefficient": c, "share": float(share)}

    def _part(self, score: Score | None) -> float:
        if score is None or score.abstained:
            return 0.0
        if not self.check:
            return score.value
        return sum(check.value for check in score.checks if check.name == self.check)

    def state_dict(self) -> dict[str, Any]:
        return {"step": self._step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._step = state["step"]


def decay(step: int, steps: int, form: Literal["linear", "cosine"] = "linear") -> float:
    """From 1 at step 0 to 0 at `steps` and after."""
    at = min(step / steps, 1.0)
    return 1.0 - at if form == "linear" else (math.cos(math.pi * at) + 1.0) / 2.0
