"""Shorter right answers: the length rewards that SAR is compared with (paper 24)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from agentrl.core import Check, Episode, Group, Score

Kind = Literal["pruner", "efficient"]


@dataclass(slots=True)
class Length:
    """Adds weight * length reward to each episode's reward.

    "pruner"     -clip((len - mean) / len, -1, 1), mean over the group (O1-Pruner)
    "efficient"  -correct * 2 * (sigmoid((len - mu) / (sd + 1e-5)) - 1/2), mu and sd over the
    group's
                 correct episodes; 0 with fewer than two (ER)

    Length: trained tokens. Correct: reward > `correct`.
    """

    form: Kind = "efficient"
    weight: float = 0.2
    correct: float = 0.5
    name: str = "length"

    async def compare(self, group: Group, episodes: Sequence[Episode]) -> list[Score]:
        lengths = np.array([e.trained_tokens for e in episodes], np.float64)
        right = np.array([e.reward > self.correct for e in episodes])
        extra = pruner(lengths) if self.form == "pruner" else efficient(lengths, right)
        return [
            Score(e.reward + self.weight * x, [Check("length", n), Check("length_reward", x)])
            for e, n, x in zip(episodes, lengths.tolist(), extra.tolist(), strict=True)
        ]


def pruner(lengths: np.ndarray) -> np.ndarray:
    n = np.asarray(lengths, np.float64)
    return -np.clip((n - n.mean()) / np.maximum(n, 1.0), -1.0, 1.0)


def efficient(lengths: np.ndarray, right: np.ndarray) -> np.ndarray:
    n, right = np.asarray(lengths, np.float64), np.asarray(right, bool)
    if right.sum() < 2:
        return np.zeros_like(n)
    mu, sd = n[right].mean(), n[right].std(ddof=1)
    z = np.clip((n - mu) / (sd + 1e-5), -50, 50)
    return np.where(right, -2.0 * (1.0 / (1.0 + np.exp(-z)) - 0.5), 0.0)
