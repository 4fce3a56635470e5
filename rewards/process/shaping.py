"""Dense rewards that cannot be farmed: potentials, counts, and their decay (paper 63)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from agentrl.core import Check, Episode, Reward, Score


def potential_shaping(potentials: Sequence[float], gamma: float = 1.0) -> list[float]:
    """F_t = gamma Phi(s_{t+1}) - Phi(s_t) with Phi(terminal) = 0 (Ng, Harada, Russell 1999).

    Args:
        potentials: Phi of the state that each of T steps starts from.

    Returns:
        T values. Their discounted sum is -Phi(s_0) whatever was done, so optimal policies stay.
    """
    after = [*potentials[1:], 0.0] if potentials else []
    return [gamma * b - a for a, b in zip(potentials, after, strict=True)]


def count_bonus(keys: Sequence[str], scale: float, seen: Counter[str] | None = None) -> list[float]:
    """scale / sqrt(N(s)) for every visit, the visit itself counted; `seen` holds earlier ones."""
    counts = seen if seen is not None else Counter[str]()
    bonuses = []
    for key in keys:
        counts[key] += 1
        bonuses.append(scale / math.sqrt(counts[key]))
    return bonuses


def preference_loss(first: Sequence[float], second: Sequence[float]) -> float:
    """-log sigmoid(sum r(first) - sum r(second)): a reward model's loss where the first trajectory
    is preferred (Christiano et al. 2017)."""
    return float(-_log_sigmoid(sum(first) - sum(second)))


def _log_sigmoid(x: float) -> float:
    return -math.log1p(math.exp(-x)) if x > -30 else x


@dataclass(slots=True)
class PotentialShaping:
    """Step rewards F_t from the environment's `Turn.rewards[potential]`, Phi before each turn.

    Added to an outcome they change no optimal policy, which raw progress does: going back and
    forth earns nothing. Value: their discounted sum.
    """

    potential: str = "potential"
    gamma: float = 1.0
    name: str = "potential_shaping"

    async def score(self, episode: Episode) -> Score:
        given = [t.rewards.get(self.potential) for t in episode.turns]
        if None in given:
            return Score(abstained=True, evidence=f"a turn has no rewards[{self.potential!r}]")
        phi = [float(g) for g in given if g is not None]
        steps = potential_shaping(phi, self.gamma)
        value = sum(self.gamma**t * f for t, f in enumerate(steps))
        return Score(value, steps=steps, evidence=f"potential {phi[0] if phi else 0:g} at first")


@dataclass(slots=True)
class CountBonus:
    """beta / sqrt(N) for every observation, N counted inside the episode. Value: the mean."""

    beta: float = 0.1
    name: str = "count_bonus"

    async def score(self, episode: Episode) -> Score:
        keys = ["\n".join(m.content for m in turn.observations) for turn in episode.turns]
        steps = count_bonus(keys, self.beta)
        return Score(sum(steps) / len(steps) if steps else 0.0, steps=steps)


@dataclass(slots=True)
class Dense:
    """r = r_outcome + sum_k c_k d_k, each dense part with the share of the total it makes up.

    A part whose share passes `most` is scaled down to it, so that no dense part outweighs the
    outcome unnoticed; `share/NAME` checks say what each had. With an outcome of zero the parts
    together are held to `floor` in absolute value.
    """

    outcome: Reward
    dense: list[Reward]
    weights: list[float] | None = None
    most: float = 0.5
    floor: float = 0.1
    name: str = "dense"
    _weights: list[float] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._weights = self.weights or [1.0] * len(self.dense)

    @property
    def parts(self) -> Sequence[Reward]:
        return [self.outcome, *self.dense]

    def combine(self, episode: Episode, scores: Sequence[Score]) -> Score:
        outcome, *dense = scores
        if outcome.abstained:
            return Score(abstained=True, evidence="the outcome abstained")
        limit = max(abs(outcome.value) * self.most / (1 - self.most), self.floor)
        raw = [
            0.0 if s.abstained else w * s.value for w, s in zip(self._weights, dense, strict=True)
        ]
        size = sum(map(abs, raw))
        scale = min(1.0, limit / size) if size else 1.0
        checks = [
            Check(f"share/{part.name}", abs(scale * r) / (abs(outcome.value) + scale * size or 1.0))
            for part, r in zip(self.dense, raw, strict=True)
        ]
        steps = self._steps(episode, outcome, dense, scale)
        return Score(outcome.value + scale * sum(raw), checks, steps, evidence=f"scale {scale:g}")

    def _steps(
        self, episode: Episode, outcome: Score, dense: Sequence[Score], scale: float
    ) -> list[float]:
        steps = list(outcome.steps) or [0.0] * len(episode.turns)
        if steps and not outcome.steps:
            steps[-1] = outcome.value
        for weight, score in zip(self._weights, dense, strict=True):
            for t, value in enumerate(score.steps):
                steps[t] += scale * weight * value
        return steps

    async def score(self, episode: Episode) -> Score:
        return self.combine(episode, [await part.score(episode) for part in self.parts])
