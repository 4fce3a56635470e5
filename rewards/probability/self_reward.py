"""LaSeR: the log-probability of one unused token after the answer as self-reward (paper 7)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from agentrl.core import Check, Episode, Score, Scorer


@dataclass(slots=True)
class LastToken:
    """r_s = beta_v * (log pi(z_c | x, y, end) - c_ref), clipped to [0, 1].

    z_c is an unused special token, read at the position behind the end of the answer. It means
    something only when the policy is trained towards r_s = verdict (the learner's auxiliary
    loss `last_token`). Its verdict is r_s > 0.5.

    Attributes:
        token: id of z_c.
        c_ref: the reference model's mean log-probability of z_c (Qwen2.5: -23).
    """

    scorer: Scorer
    token: int
    c_ref: float = -23.0
    beta: float = 0.1
    name: str = "last_token"

    async def score(self, episode: Episode) -> Score:
        if not episode.segments:
            return Score(abstained=True, evidence="no tokens")
        tokens = [*episode.segments[-1].tokens.tolist(), self.token]
        found = await self.scorer.score(tokens, len(tokens) - 1)
        raw = self_reward(float(found.logprobs[0]), self.c_ref, self.beta)
        return Score(min(max(raw, 0.0), 1.0), [Check("self_verdict", raw, raw > 0.5)])


def self_reward(logprob: float, c_ref: float = -23.0, beta: float = 0.1) -> float:
    return beta * (logprob - c_ref)


def mixed_advantages(
    verdicts: Sequence[float],
    self_rewards: Sequence[float],
    truncated: Sequence[bool],
    tau: float = 0.1,
    least: float = 0.1,
) -> np.ndarray:
    """A = (1 - tau) A_v + tau A_s of one group, both (r - mean) / std (sample).

    r_s is clipped to [0, 1] and 0 for truncated rollouts. Where the group's std of r_s is at most
    `least`, A_s is A_v. A group without variance has advantage 0.
    """
    clipped = np.where(truncated, 0.0, np.clip(np.asarray(self_rewards, np.float64), 0.0, 1.0))
    a_v = standardised(np.asarray(verdicts, np.float64))
    spread = clipped.std(ddof=1) if len(clipped) > 1 else 0.0
    a_s = standardised(clipped) if spread > least else a_v
    return (1 - tau) * a_v + tau * a_s


def standardised(values: np.ndarray) -> np.ndarray:
    """(x - mean) / sample std; zeros when there is no variance."""
    if len(values) < 2 or np.ptp(values) <= 1e-12 * max(float(np.abs(values).max()), 1e-300):
        return np.zeros_like(values)
    return (values - values.mean()) / values.std(ddof=1)


def weighted_answer(answers: Sequence[str], self_rewards: Sequence[float]) -> str:
    """At test time: the answer with the largest sum of r_s."""
    total: dict[str, float] = defaultdict(float)
    for answer, r in zip(answers, self_rewards, strict=True):
        total[answer] += r
    return max(total, key=total.__getitem__)
