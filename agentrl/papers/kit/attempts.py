"""Rollouts without an engine: guidance asks for attempts, a rule says what they come to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from agentrl.core import Attempt, Episode, Group, Score
from agentrl.guidance import Assisted, Guidance, GuidanceSettings, Means, Sources, build_guidance
from agentrl.papers.kit.toys import episode


@dataclass(slots=True)
class Rollouts:
    """`reward(attempt, number)` of each batch of attempts; remembers what was asked for."""

    reward: Callable[[Attempt, int], float]
    asked: list[Attempt] = field(default_factory=list)
    calls: int = 0

    async def __call__(self, attempts: Sequence[Attempt]) -> list[Episode]:
        self.calls += 1
        found = []
        for number, attempt in enumerate(attempts):
            made = episode(
                ["done"], seed=1000 + len(self.asked), reward=self.reward(attempt, number)
            )
            made.task = attempt.task
            made.guidance = dict(attempt.guide.note) if attempt.guide is not None else {}
            self.asked.append(attempt)
            found.append(made)
        return found

    @property
    def levels(self) -> list[int]:
        """Level of each hint that was tried."""
        return [level(a) for a in self.asked]


def level(attempt: Attempt) -> int:
    """Which level of the ladder an attempt was shown; 0 for none."""
    return int(attempt.guide.note["level"]) if attempt.guide is not None else 0


def guidance(kind: str, steps: int = 100, **given: Any) -> Guidance:
    """A preset, with the choices given beside it."""
    return build_guidance(GuidanceSettings(kind=kind, **given), Sources(), steps=steps)


def help_groups(
    subject: Guidance, groups: Sequence[Group], rollouts: Rollouts, step: int = 50
) -> Assisted:
    """One step's help."""
    return asyncio.run(subject.assist(groups, step, 0, Means(rollouts)))


def failed_group(
    rewards: Sequence[float], reference: dict[str, Any] | None = None, task: str = "task"
) -> Group:
    """A group with these rewards."""
    members = [
        episode(["no"], seed=n, reward=r, reference=reference, task=task)
        for n, r in enumerate(rewards)
    ]
    for member in members:
        member.task = members[0].task
        member.scores["reward"] = Score(member.scores["reward"].value)
    return Group((task,), members)
