"""Judging an episode: every critic once, every verdict kept, no bad number let through."""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, runtime_checkable

from agentrl.core import AgentRLError, Episode, InfraError, Reward, Score, Status

COMPOSED = "reward"


@runtime_checkable
class Composite(Protocol):
    """A reward made of others; `judge` scores every part once and then combines them."""

    name: str

    @property
    def parts(self) -> Sequence[Reward]: ...

    def combine(self, episode: Episode, scores: Sequence[Score]) -> Score | Awaitable[Score]:
        """The composed score from the parts' scores, in the order of `parts`; a coroutine where
        combining asks a judge."""
        ...


async def judge(reward: Reward, episode: Episode) -> Score:
    """Score an episode; every critic goes to `episode.scores` by its name, the whole as "reward".

    An episode that broke by infrastructure is not judged: its "reward" abstains. A score that
    is not a finite number abstains too.

    Raises:
        InfraError: a judge is down (as it said so), or a reward's own code raised
            (`reward_raised`). `episode.scores` is left as it was.
    """
    if episode.status == Status.INFRA_ERROR:
        score = Score(abstained=True, evidence=f"infrastructure failed: {episode.cause}")
        episode.scores[COMPOSED] = score
        return score
    found: dict[str, Score] = {}
    score = await _evaluate(reward, episode, found)
    if isinstance(reward, Composite):
        found.pop(reward.name, None)
    episode.scores.update(found)
    episode.scores[COMPOSED] = score
    return score


async def score_parts(parts: Sequence[Reward], episode: Episode) -> list[Score]:
    """The scores of several rewards, in their order."""
    return list(await asyncio.gather(*(_evaluate(part, episode, {}) for part in parts)))


async def _evaluate(reward: Reward, episode: Episode, found: dict[str, Score]) -> Score:
    if isinstance(reward, Composite):
        scores = await asyncio.gather(*(_evaluate(p, episode, found) for p in reward.parts))
        score = await _guarded(reward.name, episode, lambda: reward.combine(episode, scores))
    else:
        score = await _guarded(reward.name, episode, lambda: reward.score(episode))
    found[reward.name] = score
    return score


async def _guarded(
    name: str, episode: Episode, give: Callable[[], Score | Awaitable[Score]]
) -> Score:
    """The boundary to rewards that users write: their bugs cost an episode, not the run."""
    try:
        answer = give()
        score = await answer if inspect.isawaitable(answer) else answer
        return _checked(score, len(episode.turns))
    except AgentRLError:
        raise
    except Exception as error:
        raise InfraError(
            "reward_raised",
            f"the reward {name!r} raised {type(error).__name__}: {error}",
            where=f"task {episode.task.id}",
            fix="the episode is left out of every statistic; correct the reward's code",
        ) from error


def _checked(score: object, turns: int) -> Score:
    if not isinstance(score, Score):
        raise TypeError(f"score() returned {type(score).__name__}, not a Score")
    if score.steps and len(score.steps) != turns:
        raise ValueError(f"{len(score.steps)} steps for {turns} turns")
    if not all(map(math.isfinite, [score.value, *score.steps])):
        return Score(checks=score.checks, abstained=True, evidence="not a finite number")
    return score
