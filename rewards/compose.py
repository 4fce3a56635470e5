"""Rewards made of rewards: gated and direct accumulation, and the weighted sum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from agentrl.core import Check, Episode, Reward, Score
from agentrl.rewards.judging import score_parts

Scope = Literal["sum", "mean"]
Mode = Literal["gated", "direct"]
GATE = "gate/"


@dataclass(slots=True)
class Level:
    """One reward inside a composed one.

    Attributes:
        reward: the critic.
        priority: levels of a higher priority gate this one; equal ones do not.
        above: this level opens the gate of those below when its raw value is strictly greater.
        weight: what its raw value is multiplied by when it counts.
        scope: how a critic that judges turns becomes one raw value: the "sum" or the "mean" of
            its steps. Means keep a long episode from earning more than a short one.
    """

    reward: Reward
    priority: int = 0
    above: float = 0.0
    weight: float = 1.0
    scope: Scope = "mean"

    @property
    def name(self) -> str:
        return self.reward.name


@dataclass(slots=True)
class _Part:
    """A level's verdict on one episode: its raw value, and the same value spread over turns."""

    level: Level
    raw: float
    steps: list[float]
    abstained: bool


def _part(level: Level, score: Score, turns: int) -> _Part:
    """Spread an outcome onto the last turn; a turn critic's steps by its scope."""
    if score.abstained:
        return _Part(level, 0.0, [0.0] * turns, True)
    if score.steps:
        share = 1.0 / len(score.steps) if level.scope == "mean" else 1.0
        steps = [share * step for step in score.steps]
        return _Part(level, sum(steps), steps, False)
    steps = [0.0] * turns
    if turns:
        steps[-1] = score.value
    return _Part(level, score.value, steps, False)


@dataclass(slots=True)
class Gated:
    """Gated reward accumulation, G-RA (paper 4, arXiv 2508.10548).

    With priorities o, raw values R, thresholds g and weights w,

        gate_i = product over j with o_j > o_i of [R_j > g_j],    value = sum_i gate_i w_i R_i

    so that a critic that is easy to please counts only once what matters more was reached. Mode
    "direct" leaves the gates out (D-RA, the paper's baseline).

    The score's `steps` hold the shaping of each turn, with the outcomes on the last turn; they
    sum to `value`. Each level is a `Check` "gate/NAME": its raw value, and whether its gate is open
    (in either mode), highest priority first. Abstains when a level whose gate is open abstains.
    """

    levels: list[Level]
    mode: Mode = "gated"
    name: str = "gated"
    _order: list[int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        ranked = sorted(enumerate(self.levels), key=lambda item: -item[1].priority)
        self._order = [index for index, _ in ranked]

    @property
    def parts(self) -> Sequence[Reward]:
        return [level.reward for level in self.levels]

    async def score(self, episode: Episode) -> Score:
        return self.combine(episode, await score_parts(self.parts, episode))

    def combine(self, episode: Episode, scores: Sequence[Score]) -> Score:
        turns = len(episode.turns)
        ranked = [_part(self.levels[i], scores[i], turns) for i in self._order]
        counted: list[_Part] = []
        checks: list[Check] = []
        for part in ranked:
            shut = [p for p in ranked if _closes(p, part)]
            if not shut or self.mode == "direct":
                counted.append(part)
            checks.append(Check(f"{GATE}{part.level.name}", part.raw, not shut, _why(part, shut)))
        return _accumulate(counted, turns, checks)


@dataclass(slots=True)
class Weighted:
    """The weighted sum of rewards, spread over turns as in `Gated`; priorities mean nothing."""

    levels: list[Level]
    name: str = "weighted"

    @property
    def parts(self) -> Sequence[Reward]:
        return [level.reward for level in self.levels]

    async def score(self, episode: Episode) -> Score:
        return self.combine(episode, await score_parts(self.parts, episode))

    def combine(self, episode: Episode, scores: Sequence[Score]) -> Score:
        turns = len(episode.turns)
        parts = [_part(level, s, turns) for level, s in zip(self.levels, scores, strict=True)]
        checks = [Check(f"part/{p.level.name}", p.raw, None, _why(p, [])) for p in parts]
        return _accumulate(parts, turns, checks)


def _closes(upper: _Part, lower: _Part) -> bool:
    above = upper.level.priority > lower.level.priority
    return above and (upper.abstained or not upper.raw > upper.level.above)


def _why(part: _Part, shut: list[_Part]) -> str:
    if part.abstained:
        return "abstained"
    if not shut:
        return f"counts {part.level.weight:g} x {part.raw:g}"
    reasons = ", ".join(
        f"{p.level.name} abstained"
        if p.abstained
        else f"{p.level.name} {p.raw:g} is not above {p.level.above:g}"
        for p in shut
    )
    return f"gate closed: {reasons}"


def _accumulate(parts: list[_Part], turns: int, checks: list[Check]) -> Score:
    """The sum of what counts; abstains when a part of it does."""
    silent = [p.level.name for p in parts if p.abstained]
    if silent:
        return Score(checks=checks, abstained=True, evidence=f"abstained: {', '.join(silent)}")
    steps = [sum(p.level.weight * p.steps[t] for p in parts) for t in range(turns)]
    evidence = " + ".join(f"{p.level.weight:g} x {p.level.name} {p.raw:g}" for p in parts)
    value = sum(p.level.weight * p.raw for p in parts)
    return Score(value=value, checks=checks, steps=steps, evidence=evidence)
