"""Behaviour as constraints: how often something may happen, not how much it costs (paper 54)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from agentrl.core import Episode
from agentrl.rewards.transforms.base import Batch

Indicator = Callable[[Episode], float]


def _bad_call(episode: Episode) -> float:
    return float(any(c.error for turn in episode.turns for c in turn.calls))


def _tool_error(episode: Episode) -> float:
    return float(any(not r.ok for turn in episode.turns for r in turn.results))


def _cut_off(episode: Episode) -> float:
    return float(episode.status in ("max_turns", "max_tokens", "deadline"))


INDICATORS: Mapping[str, Indicator] = {
    "bad_call": _bad_call,
    "tool_error": _tool_error,
    "cut_off": _cut_off,
}


@dataclass(slots=True)
class Constraints:
    """max J_R subject to J_{C_k} <= d_k, C_k(episode) = [unwanted event], by multipliers:

        r = lambda_0 R - sum_k lambda_k C_k,      lambda = softmax(z_0 = 0, z_1, ..., z_K)
        z_k <- z_k + eta (J_{C_k} - d_k)          after every step

    so that d_k is a frequency one can read. Events: "bad_call", "tool_error", "cut_off", or the
    name of a score (its value) or of an outcome key (truthy). With `bootstrap` the reward's weight
    is never below that share, so that learning goes on while constraints dominate.

    Attributes:
        limits: d_k by event.
        floor: z_k stays above it: a constraint that holds does not run away.
    """

    limits: dict[str, float]
    eta: float = 0.5
    floor: float = -6.0
    bootstrap: float = 0.0
    name: str = "constraints"
    z: dict[str, float] = field(default_factory=dict, init=False)

    def multipliers(self) -> dict[str, float]:
        """lambda_0 as "reward", and lambda_k; positive, sum 1."""
        raw = {"reward": 0.0} | {k: self.z.get(k, 0.0) for k in self.limits}
        top = max(raw.values())
        exp = {k: float(np.exp(v - top)) for k, v in raw.items()}
        total = sum(exp.values())
        found = {k: v / total for k, v in exp.items()}
        if found["reward"] < self.bootstrap:
            scale = (1 - self.bootstrap) / (1 - found["reward"])
            found = {k: v * scale for k, v in found.items()} | {"reward": self.bootstrap}
        return found

    def apply(self, batch: Batch) -> dict[str, float]:
        weights = self.multipliers()
        kept = batch.keep
        events = {k: np.array([_event(k, e) for e in batch.episodes]) for k in self.limits}
        batch.values = weights["reward"] * batch.values - sum(
            weights[k] * c for k, c in events.items()
        )
        rates = {k: float(c[kept].mean()) if kept.any() else 0.0 for k, c in events.items()}
        self.update(rates)
        return (
            {f"rate/{k}": v for k, v in rates.items()}
            | {f"multiplier/{k}": v for k, v in weights.items()}
            | {"violated": float(sum(rates[k] > d for k, d in self.limits.items()))}
        )

    def update(self, rates: Mapping[str, float]) -> None:
        """One step of the multipliers on measured rates."""
        for k, limit in self.limits.items():
            self.z[k] = max(self.z.get(k, 0.0) + self.eta * (rates[k] - limit), self.floor)

    def state_dict(self) -> dict[str, Any]:
        return {"z": dict(self.z)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.z = dict(state["z"])


def _event(name: str, episode: Episode) -> float:
    if name in INDICATORS:
        return INDICATORS[name](episode)
    if name in episode.scores:
        score = episode.scores[name]
        return 0.0 if score.abstained else score.value
    return float(bool(episode.outcome.get(name)))
