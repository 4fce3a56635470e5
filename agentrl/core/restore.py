"""Going back: where an episode begins instead of at its task's first message.

An environment that can be snapshot is put back as it was; any other is taken there by its recorded
calls, and what it answers is compared with the record. The policy's tokens are never sampled again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from agentrl.core.episode import Episode, Origin
from agentrl.core.errors import AgentRLError, InfraError
from agentrl.core.messages import Message
from agentrl.core.task import Task

# What differs from run to run and says nothing about the state: durations, addresses, the names of
# temporary files, times of day.
_UNSTEADY = re.compile(
    r"\b\d+(?:\.\d+)? ?(?:s|ms|seconds|secs)\b"
    r"|0x[0-9a-fA-F]{6,16}"
    r"|/tmp/[\w.-]*\w{6,}"
    r"|\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?"
)


class NoSnapshot(AgentRLError):
    """This cannot be snapshot now, and why; its recorded calls can still be replayed."""


class RestoreError(InfraError):
    """An episode cannot be taken up where it was asked for.

    Causes: `restore_diverged` (a replayed call was answered otherwise than recorded) and
    `restore_failed` (there is no such turn, or the environment raised on the way).
    """


@runtime_checkable
class Restorable(Protocol):
    """An environment or a sandbox whose state can be taken and put back any number of times."""

    async def snapshot(self) -> object:
        """Raises NoSnapshot."""
        ...


@runtime_checkable
class RestorableSandbox(Protocol):
    """A sandbox whose files can be taken and put into another one of its kind."""

    async def snapshot(self) -> FileSnapshot:
        """Raises NoSnapshot: programs of the agent are running, or there is too much to keep."""
        ...

    async def restore(self, snapshot: FileSnapshot) -> None:
        """Nothing is left but what the snapshot holds."""
        ...


@dataclass(slots=True, frozen=True, repr=False)
class FileSnapshot:
    """The files of a sandbox's writable folders, one tar each, in the folders' order."""

    folders: tuple[bytes, ...]

    def __len__(self) -> int:
        """Bytes."""
        return sum(map(len, self.folders))


@dataclass(slots=True, frozen=True)
class Start:
    """Where a new episode takes up a recorded one.

    Attributes:
        episode: the record; its first `turn` turns are kept, token by token (0: only its prompt).
        head: ids that turn `turn` begins with; they are not trained. What is sampled follows, and
            the turn's text and calls are read from both.
        head_origin: what the record says of them: PROMPT, or HINT where guidance wrote them.
        messages: shown before the new turn, behind the recorded observations.
        trained: False makes all that is kept context, so that a gradient is local to what is new;
            True keeps it as it was sampled.
    """

    episode: Episode
    turn: int = 0
    head: Sequence[int] = ()
    head_origin: Origin = Origin.PROMPT
    messages: Sequence[Message] = ()
    trained: bool = False

    @property
    def task(self) -> Task:
        return self.episode.task

    @property
    def key(self) -> tuple[str, str, int, str]:
        """Of the group that continuations from here are."""
        return self.task.id, "turn", self.turn, self.episode.id


def steady(text: str) -> str:
    """A text without what changes from run to run."""
    return _UNSTEADY.sub("~", text)


def agree(recorded: str, now: str) -> bool:
    """Whether two observations are the same but for what changes from run to run."""
    return recorded == now or steady(recorded) == steady(now)
