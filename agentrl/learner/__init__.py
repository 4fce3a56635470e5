"""The learner: groups of judged episodes -> one exact gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agentrl.learner.learner import Learner

from agentrl.learner.presets import PRESETS
from agentrl.learner.rows import LearnerError
from agentrl.learner.settings import LearnerSettings

__all__ = ["PRESETS", "Learner", "LearnerError", "LearnerSettings"]


def __getattr__(name: str) -> Any:
    if name == "Learner":
        from agentrl.learner.learner import Learner

        return Learner
    raise AttributeError(f"module 'agentrl.learner' has no attribute {name!r}")
