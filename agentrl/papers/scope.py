"""Paper 44, SCOPE: what was right of a failure is kept, and repaired from its first wrong step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from agentrl.core import Episode, Score
from agentrl.guidance.merge import merged
from agentrl.guidance.settings import Merge, Trigger
from agentrl.guidance.splice import first_wrong
from agentrl.learner.rows import make_rows
from agentrl.learner.settings import Coefficient
from agentrl.papers.kit.attempts import guidance
from agentrl.papers.kit.bandit import advantages, kappa
from agentrl.papers.kit.properties import Property, measured
from agentrl.papers.kit.tree import grove
from agentrl.papers.kit.world import on_one_thread
from agentrl.papers.registry import Measured

CLAIM = (
    "Steps scored .9 .8 .2 .9 are repaired from the third; the kept prefix keeps its tokens, mask "
    "and log-probabilities; a repair drawn with probability .1 has kappa A/4 at gamma .1; only the "
    "repaired member of a failed group gets a positive advantage."
)
SIZE = 4


def run(seeds: Sequence[int]) -> Measured:
    return measured(p for seed in seeds for p in on_one_thread(_properties(seed)))


async def _properties(seed: int) -> list[Property]:
    async with grove(seed) as woods:
        group = await woods.group(SIZE, seed)
        for member in group.episodes:  # a process reward that finds the last of three turns wrong
            member.outcome["step_scores"] = [0.9, 0.8, 0.2]
            member.scores["reward"] = Score(0.0)
        subject = guidance("scope", merge={"kind": "replace_members", "count": 1})
        helped = await subject.assist([group], 1, 0, woods.means)
    source = group.episodes[0]
    (repair, *_) = [e for e in helped.rollouts if e.branch["episode"] == source.id]
    repair.scores["reward"], repair.outcome["resolved"] = Score(1.0), True
    (after,) = merged(group, [repair], Merge(kind="replace_members"), Trigger())
    plain = {"outcome": {"scale": "none"}}
    return [
        Property(
            "first wrong step of .9 .8 .2 .9", 3, 1 + (first_wrong([0.9, 0.8, 0.2, 0.9]) or 0)
        ),
        Property("turn that every repair begins at", [2] * SIZE, _begins(helped.rollouts)),
        Property("kept tokens that are trained", len(_kept(source)), len(_kept(repair))),
        Property(
            "and differ in token, version or log-probability", 0, _differ(source, repair), 0.0
        ),
        Property("hint tokens, trained", 0, _trained_hints(repair)),
        Property("turns off policy: those behind the hint", [0, 0, 1], _off_policy(repair)),
        Property("advantages of the failed group", [0] * SIZE, advantages(group, channels=plain)),
        Property(
            "and with the repair in it", [0.75, *[-0.25] * 3], advantages(after, channels=plain)
        ),
        Property(
            "kappa of a repair at .1", 0.25, kappa(0.1, 1.0, Coefficient(kind="shape", gamma=0.1))
        ),
    ]


def _begins(episodes: Sequence[Episode]) -> list[int]:
    return [int(e.branch["turn"]) for e in episodes]


def _kept(episode: Episode) -> np.ndarray:
    """float64[n, 3]: tokens, log-probabilities and versions of the kept turns, as trained."""
    (row, *_) = make_rows([episode], strip_hints=True)
    kept = row.turn < 2
    return np.stack([row.target[kept], row.behave[kept], row.version[kept]], axis=1)


def _differ(source: Episode, repair: Episode) -> int:
    then, now = _kept(source), _kept(repair)
    return int((then != now).any(axis=1).sum()) if len(then) == len(now) else len(then)


def _off_policy(episode: Episode) -> list[float]:
    """Share of each turn's tokens that are weighted as drawn in another context."""
    (row, *_) = make_rows([episode], strip_hints=True)
    return [float(row.foreign[row.turn == turn].mean()) for turn in range(len(episode.turns))]


def _trained_hints(episode: Episode) -> int:
    (bare, *_), (full, *_) = make_rows([episode], strip_hints=True), make_rows([episode])
    return len(full.target) - len(bare.target)
