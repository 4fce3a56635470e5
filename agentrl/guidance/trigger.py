"""Choice 1: when a group is helped."""

from __future__ import annotations

from collections.abc import Sequence

from agentrl.core import Episode, Group, solved
from agentrl.guidance.settings import Trigger


def succeeded(episode: Episode, trigger: Trigger) -> bool:
    """Did it do the task, as the trigger counts?"""
    if trigger.check:
        checks = episode.scores["reward"].checks if "reward" in episode.scores else ()
        return any(c.name == trigger.check and bool(c.passed) for c in checks)
    return solved(episode, trigger.solved_at)


def success_rate(group: Group, trigger: Trigger) -> float | None:
    """Share of the judged episodes that did the task; None without any."""
    won = [succeeded(e, trigger) for e in group.judged]
    return sum(won) / len(won) if won else None


def fires(group: Group, trigger: Trigger, visits: Sequence[float]) -> bool:
    """Whether this group is to be helped.

    Args:
        visits: success rates of the task's earlier visits, unguided, oldest first.
    """
    rate = success_rate(group, trigger)
    if rate is None:
        return False
    if trigger.kind == "always":
        return True
    if trigger.kind in ("first_error", "has_feedback"):
        return rate < 1.0
    if trigger.kind == "accuracy":
        return rate <= trigger.threshold
    if rate > 0.0:
        return False
    if trigger.kind == "plateau":
        last = list(visits)[-trigger.visits :]
        return len(last) == trigger.visits and max(last) <= trigger.threshold
    return True
