"""Errors for people: what was wrong, where, and what to do about it."""

from __future__ import annotations


class AgentRLError(Exception):
    """An error that a user can act on.

    Args:
        what: what was wrong, one sentence.
        where: the file, line, key or task it was found at.
        fix: what to do about it.
    """

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        self.what, self.where, self.fix = what, where, fix
        super().__init__(what)

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}\n  -> {self.fix}" if self.fix else text


class ConfigError(AgentRLError):
    """A run file, an override or an argument is wrong."""


class TaskFileError(AgentRLError):
    """A line of a task file cannot be read as a task."""


class ModelError(AgentRLError):
    """A model directory cannot serve as a policy."""


class InfraError(AgentRLError):
    """Something broke that the policy did not cause: the episode says nothing about the policy.

    `cause` is a short stable name such as `sandbox_died`, `engine_lost` or `judge_down`;
    it becomes `Episode.cause`, and statistics count by it.
    """

    def __init__(self, cause: str, what: str, *, where: str = "", fix: str = "") -> None:
        self.cause = cause
        super().__init__(what, where=where, fix=fix)


class SandboxError(InfraError):
    """A sandbox could not be made, or died under us."""
