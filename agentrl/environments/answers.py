"""Environments in which one message is the answer."""

from __future__ import annotations

import re
from collections.abc import Awaitable
from typing import Any

from agentrl.core import Episode, Score, Task
from agentrl.environments.base import Environment, maybe_await

_BOXED = re.compile(r"\\boxed\s*\{")
THINK_END = "</think>"


class AnswerEnvironment(Environment):
    """A question and an answer to it; a subclass says in `grade` what the answer is worth.

    A turn without calls ends the episode, so a subclass may have tools that are used before.
    """

    task: Task

    def reset(self, task: Task) -> Any:
        self.task = task
        return task.prompt

    def grade(self, answer: str) -> dict[str, Any] | Awaitable[dict[str, Any]]:
        """The JSON-able outcome that rewards read; `self.task` has the reference. May be async."""
        raise NotImplementedError

    async def finish(self, episode: Episode) -> dict[str, Any]:
        """What `grade` says of the last message ("" when there is none)."""
        answer = episode.turns[-1].text if episode.turns else ""
        return {"answer": answer, **await maybe_await(self.grade(answer))}


def after_thinking(text: str) -> str:
    """What follows the last closing think tag; all of it when there is none."""
    return text.rsplit(THINK_END, 1)[-1]


def boxed(text: str) -> list[str]:
    r"""The contents of every `\boxed{..}`, braces inside included, in order."""
    found = []
    for match in _BOXED.finditer(text):
        depth = 1
        for end in range(match.end(), len(text)):
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            if depth == 0:
                found.append(text[match.end() : end])
                break
    return found


def ungraded(key: str) -> Score:
    """The abstention of a reward whose environment did not report `key`."""
    return Score(abstained=True, evidence=f"the environment does not say {key!r}")
