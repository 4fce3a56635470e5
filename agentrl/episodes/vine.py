"""What each turn was worth: values of states by continuations from them (VinePPO, in turns).

With V(s_t) the mean reward of k continuations from before turn t, and V after the last turn the
reward itself, turn t is worth V(s_{t+1}) - V(s_t): an advantage local to the turn, whose sum over
the episode is reward - V(s_0).
"""

from __future__ import annotations

from collections.abc import Sequence

from agentrl.core import Episode, Group, Start, derive_seed
from agentrl.episodes.scheduler import Scheduler


async def vine(scheduler: Scheduler, episode: Episode, count: int, *, seed: int) -> list[Group]:
    """`count` continuations from before every turn, one group a turn; writes what each turn was
    worth as the episode's step rewards (see `credit_turns`)."""
    groups = [
        await scheduler.fork(Start(episode, turn), count, seed=derive_seed(seed, "vine"))
        for turn in range(len(episode.turns))
    ]
    credit_turns(episode, groups)
    return groups


def credit_turns(episode: Episode, groups: Sequence[Group]) -> list[float] | None:
    """Write V(s_{t+1}) - V(s_t) into the episode's `Score.steps`; the `vine` preset learns from it.

    Args:
        groups: continuations from before turn t, for every turn t in order.

    Returns:
        The differences; None (and nothing is written) when the episode or one of the groups has no
        judged member.
    """
    if not episode.judged or not episode.turns or not all(g.judged for g in groups):
        return None
    values = [sum(e.reward for e in g.judged) / len(g.judged) for g in groups]
    after = [*values[1:], episode.reward]
    steps = [then - now for now, then in zip(values, after, strict=True)]
    episode.scores["reward"].steps = steps
    return steps
