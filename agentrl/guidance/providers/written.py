"""Hints that stand in the task or the run file."""

from __future__ import annotations

from dataclasses import dataclass

from agentrl.core import Task
from agentrl.guidance.hints import Ask
from agentrl.guidance.settings import Tier

KEYS = ("hints", "hint")
SOLUTIONS = ("solution", "solution_text", "gold_patch", "answer")


@dataclass(slots=True)
class Written:
    """Texts written beforehand: the tier's own, or `reference[key]` of the task, text or list."""

    tier: Tier

    @property
    def levels(self) -> int:
        return len(self.tier.texts) or self.tier.levels

    async def hint(self, ask: Ask, level: int) -> str | None:
        texts = self.tier.texts or _listed(ask.task, self.tier.key)
        return texts[level - 1] if level <= len(texts) else None


@dataclass(slots=True)
class Prefix:
    """The first part of the reference solution, by characters (GHPO)."""

    tier: Tier

    @property
    def fractions(self) -> tuple[float, ...]:
        return self.tier.fractions or (0.25, 0.5, 0.75)

    @property
    def levels(self) -> int:
        return len(self.fractions)

    async def hint(self, ask: Ask, level: int) -> str | None:
        text = solution(ask.task, self.tier.key)
        return cut(text, self.fractions[level - 1]) if text else None


def cut(text: str, fraction: float) -> str:
    """The first round(fraction * length) characters."""
    return text[: round(fraction * len(text))]


def solution(task: Task, key: str = "") -> str:
    """The reference solution as text, "" when the task has none; a list is joined by lines."""
    for name in (key,) if key else SOLUTIONS:
        value = task.reference.get(name)
        if isinstance(value, list | tuple):
            return "\n".join(map(str, value))
        if value:
            return str(value)
    return ""


def _listed(task: Task, key: str) -> tuple[str, ...]:
    for name in (key,) if key else KEYS:
        value = task.reference.get(name)
        if isinstance(value, str):
            return (value,)
        if isinstance(value, list | tuple):
            return tuple(map(str, value))
    return ()
