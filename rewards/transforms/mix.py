"""Mix a self-reward into the verifier's (LaSeR, paper 7)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agentrl.core import Status
from agentrl.rewards.probability.self_reward import mixed_advantages
from agentrl.rewards.transforms.base import Batch

_TRUNCATED = (Status.MAX_TURNS, Status.MAX_TOKENS, Status.DEADLINE)


@dataclass(slots=True)
class SelfRewardMix:
    """A = (1 - tau) A_v + tau A_s inside each group, A_v from the reward and A_s from the score
    `of`.

    The result is an advantage: learn with {by: [], baseline: none}. Episodes whose self-reward
    abstained count as truncated.
    """

    of: str = "last_token"
    tau: float = 0.1
    least: float = 0.1
    name: str = "self_reward_mix"

    def apply(self, batch: Batch) -> dict[str, float]:
        scores = [e.scores.get(self.of) for e in batch.episodes]
        own = np.array([0.0 if s is None or s.abstained else s.value for s in scores])
        cut = np.array(
            [
                s is None or s.abstained or e.status in _TRUNCATED
                for s, e in zip(scores, batch.episodes, strict=True)
            ]
        )
        agree = (own > 0.5) == (batch.values > 0.5)
        for m in batch.by_group():
            batch.values[m] = mixed_advantages(
                batch.values[m].tolist(), own[m].tolist(), cut[m].tolist(), self.tau, self.least
            )
        return {"self_verdict_accuracy": float(agree[~cut].mean()) if (~cut).any() else 0.0}
