"""What an episode is given that an evaluation is not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from agentrl.core.episode import Episode
from agentrl.core.messages import Message
from agentrl.core.restore import Start
from agentrl.core.task import Task


@dataclass(slots=True, frozen=True)
class Guide:
    """The hints of one episode. They are text for the policy: no environment is told of them.

    Attributes:
        opening: shown with the first messages; a system hint behind the system message, any other
            one last.
        turns: by turn (1 or later): shown before it, with what the environment answered.
        note: kept as `Episode.guidance`.
    """

    opening: Sequence[Message] = ()
    turns: Mapping[int, Sequence[Message]] = field(default_factory=dict)
    note: Mapping[str, Any] = field(default_factory=dict)

    def open(self, messages: Sequence[Message]) -> list[Message]:
        """An environment's first messages with the hints among them."""
        lead = next((i for i, m in enumerate(messages) if m.role != "system"), len(messages))
        hints = [_hint(m) for m in self.opening]
        system = [m for m in hints if m.role == "system"]
        others = [m for m in hints if m.role != "system"]
        return [*messages[:lead], *system, *messages[lead:], *others]

    def before(self, turn: int, messages: Sequence[Message]) -> list[Message]:
        """What is read before a turn, the hints last."""
        return [*messages, *map(_hint, self.turns.get(turn, ()))]


@dataclass(slots=True)
class Attempt:
    """One episode that guidance asks for; with `start` it takes up a recorded one."""

    task: Task
    seed: int
    guide: Guide | None = None
    start: Start | None = None


Rollout = Callable[[Sequence[Attempt]], Awaitable[list[Episode]]]
"""Runs attempts; their episodes in the same order."""


def _hint(message: Message) -> Message:
    """Marked as one, so that its tokens are never trained and can be taken out."""
    return replace(message, hint=True)
