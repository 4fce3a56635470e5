"""Is the reward still about what matters: collapse, hacking, drift (papers 3, 27, 61)."""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from agentrl.core import Episode, Reward
from agentrl.rewards.judging import COMPOSED


def repetition(text: str, n: int = 4) -> float:
    """1 - distinct / all runs of `n` words; 0 for short texts."""
    words = text.split()
    grams = Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))
    return 1.0 - len(grams) / grams.total() if grams else 0.0


@dataclass(slots=True)
class CollapseMonitor:
    """Follows an intrinsic reward against the truth (paper 27).

    `collapsed` is the first step (from 1) at which reward accuracy, the share of judged episodes on
    which the reward agrees with the score `truth`, falls below `least`: the model collapse step.
    None until then. A run may stop on it.
    """

    truth: str
    least: float = 0.01
    collapsed: int | None = None
    step: int = 0

    def watch(self, episodes: Sequence[Episode]) -> dict[str, float]:
        """Metrics of one step: reward_accuracy, length, repetition, collapsed (0 or 1)."""
        self.step += 1
        judged = [
            e
            for e in episodes
            if e.judged and self.truth in e.scores and not e.scores[self.truth].abstained
        ]
        if not judged:
            return {}
        agree = [(e.reward > 0.5) == (e.scores[self.truth].value > 0.5) for e in judged]
        accuracy = float(np.mean(agree))
        if accuracy < self.least and self.collapsed is None:
            self.collapsed = self.step
        texts = ["\n".join(t.text for t in e.turns) for e in judged]
        return {
            "reward_accuracy": accuracy,
            "length": float(np.mean([e.trained_tokens for e in judged])),
            "repetition": float(np.mean([repetition(t) for t in texts])),
            "collapsed": float(self.collapsed is not None),
        }


@dataclass(slots=True)
class HackMonitor:
    """Every `every` steps asks an oracle about `sample` episodes and compares (paper 61).

    gap = mean reward - mean oracle reward of the same episodes. `alarm` when the gap exceeds the
    first one by `most`: the policy has learned the judge.
    """

    oracle: Reward
    every: int = 10
    sample: int = 32
    most: float = 0.2
    seed: int = 0
    step: int = 0
    first: float | None = None

    async def watch(self, episodes: Sequence[Episode]) -> dict[str, float]:
        self.step += 1
        judged = [e for e in episodes if e.judged]
        if (self.step - 1) % self.every or not judged:
            return {}
        rng = random.Random(self.seed * 1_000_003 + self.step)
        chosen = rng.sample(judged, min(self.sample, len(judged)))
        scores = [await self.oracle.score(e) for e in chosen]
        pairs = [
            (e.reward, s.value) for e, s in zip(chosen, scores, strict=True) if not s.abstained
        ]
        if not pairs:
            return {}
        reward, truth = np.array(pairs).mean(0)
        gap = float(reward - truth)
        self.first = gap if self.first is None else self.first
        return {
            "gap": gap,
            "oracle": float(truth),
            "alarm": float(gap - self.first > self.most),
        }


@dataclass(slots=True)
class DriftMonitor:
    """The verifiable reward trap (paper 3): what is rewarded rises while a quality that is not
    falls.

    Follows means of two scores over a window of steps; `trap` is 1 when the slope of `rewarded` is
    above `least` and that of `quality` below -`least` (per step, in units of the score).
    """

    quality: str
    rewarded: str = COMPOSED
    window: int = 20
    least: float = 1e-3
    _seen: deque[tuple[float, float]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._seen = deque(maxlen=self.window)

    def watch(self, episodes: Sequence[Episode]) -> dict[str, float]:
        means = []
        for name in (self.rewarded, self.quality):
            values = [s.value for e in episodes if (s := e.scores.get(name)) and not s.abstained]
            if not values:
                return {}
            means.append(float(np.mean(values)))
        self._seen.append((means[0], means[1]))
        if len(self._seen) < max(3, self.window // 2):
            return {"trap": 0.0}
        steps = np.arange(len(self._seen))
        up, down = (float(np.polyfit(steps, c, 1)[0]) for c in np.array(self._seen).T)
        return {
            "rewarded_slope": up,
            "quality_slope": down,
            "trap": float(up > self.least and down < -self.least),
        }
