"""Rewards that compare the episodes of a group, and how the training loop runs them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from agentrl.core import Episode, Group, InfraError, Score
from agentrl.rewards.judging import COMPOSED


@runtime_checkable
class GroupReward(Protocol):
    """Judges the episodes of one group together, after each was judged on its own.

    Raises `InfraError` when its judge is down: the group then abstains, it is not zero.
    """

    name: str

    async def compare(self, group: Group, episodes: Sequence[Episode]) -> list[Score]:
        """One score for each of `episodes`, the judged ones of `group` (one or more).

        The new "reward" of an episode is its score here; `episode.scores` holds what was said of
        it alone.
        """
        ...


@runtime_checkable
class BatchReward(Protocol):
    """As `GroupReward`, for what compares across groups; gets all groups of a step."""

    name: str

    async def compare_all(self, groups: Sequence[Group]) -> dict[str, list[Score]]:
        """Scores by group position (as text) for the groups it speaks of, one for each judged
        episode in its order."""
        ...


async def judge_groups(
    reward: GroupReward | BatchReward, groups: Sequence[Group]
) -> dict[str, float]:
    """Run a group reward over a step; every judged episode gets its score as "reward" and under the
    reward's name. Metrics: share of groups that a broken judge left out."""
    if isinstance(reward, BatchReward):
        found = await reward.compare_all(groups)
        scored = [found.get(str(n)) for n in range(len(groups))]
    else:
        scored = list(await asyncio.gather(*(_one(reward, group) for group in groups)))
    broken = 0
    for group, scores in zip(groups, scored, strict=True):
        if scores is None:
            continue
        broken += any(s.evidence.startswith(_BROKEN) for s in scores)
        for episode, score in zip(group.judged, scores, strict=True):
            keep(episode, reward.name, score)
    return {f"group/{reward.name}/broken": broken / len(groups) if groups else 0.0}


_BROKEN = "infrastructure failed: "


async def _one(reward: GroupReward, group: Group) -> list[Score]:
    episodes = group.judged
    if not episodes:
        return []
    try:
        scores = await reward.compare(group, episodes)
    except InfraError as error:
        return [Score(abstained=True, evidence=f"{_BROKEN}{error.cause}") for _ in episodes]
    if len(scores) != len(episodes):
        raise ValueError(f"{reward.name}: {len(scores)} scores for {len(episodes)} episodes")
    return scores


def keep(episode: Episode, name: str, score: Score) -> None:
    """Make a score the episode's reward; a number that is not finite abstains."""
    if not all(map(math.isfinite, [score.value, *score.steps])):
        score = Score(checks=score.checks, abstained=True, evidence="not a finite number")
    episode.scores[name] = score
    episode.scores[COMPOSED] = score


def abstain_all(episodes: Sequence[Episode], why: str) -> list[Score]:
    return [Score(abstained=True, evidence=why) for _ in episodes]
