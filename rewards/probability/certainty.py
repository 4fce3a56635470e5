"""The policy's own certainty as reward (paper 27): no labels, and a ceiling."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from agentrl.core import Episode, Score, Scorer

Kind = Literal["token_entropy", "trajectory_entropy", "probability"]


@dataclass(slots=True)
class Certainty:
    """token_entropy: -mean_t H(pi_t); trajectory_entropy: mean_t log pi(y_t); probability: their
    product, as log (its exponential vanishes).

    Sharpening only makes likelier what is likely already; see `CollapseMonitor`. Token entropy asks
    the scorer, the others use what was recorded.
    """

    scorer: Scorer
    kind_of: Kind = "token_entropy"
    name: str = "certainty"

    async def score(self, episode: Episode) -> Score:
        if not episode.segments or not episode.trained_tokens:
            return Score(abstained=True, evidence="no tokens")
        segment = episode.segments[-1]
        mask = segment.action_mask
        if self.kind_of != "token_entropy":
            logprobs = segment.logprobs[mask].astype(np.float64)
            mean = self.kind_of == "trajectory_entropy"
            return Score(float(logprobs.mean() if mean else logprobs.sum()))
        start = max(int(np.flatnonzero(mask)[0]), 1)
        found = await self.scorer.score(segment.tokens, start, entropy=True)
        if found.entropy is None:
            return Score(abstained=True, evidence="the scorer gives no entropy")
        return Score(-float(np.mean(found.entropy[mask[start:]])))


def self_certainty(probabilities: np.ndarray) -> float:
    """mean_t KL(U || pi_t) over [T, V] distributions; 0 for uniform ones."""
    p = np.asarray(probabilities, np.float64)
    return float(np.mean(-np.log(np.maximum(p, 1e-300)).mean(-1) - math.log(p.shape[-1])))


def token_entropy(probabilities: np.ndarray) -> float:
    """mean_t H(pi_t) in nats over [T, V] distributions."""
    p = np.asarray(probabilities, np.float64)
    return float(np.mean(-(p * np.log(np.maximum(p, 1e-300))).sum(-1)))


def sharpened(p: float, beta: float = 1.0) -> float:
    """One round of majority-vote reward with KL weight beta, at its optimum: the initial majority's
    probability p becomes p e^{1/beta} / (p e^{1/beta} + 1 - p). Iterated it goes to 1, right or
    wrong."""
    up = p * math.exp(1.0 / beta)
    return up / (up + 1.0 - p)
