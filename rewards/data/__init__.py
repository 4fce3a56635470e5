"""Tasks made of tasks and of finished episodes."""

from agentrl.rewards.data.base import DatasetTransform, DerivedTasks

__all__ = ["DatasetTransform", "DerivedTasks"]
