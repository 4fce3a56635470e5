"""Transforms of rewards, applied in the order they are declared."""

from agentrl.rewards.transforms.base import Batch, RewardTransform, Stateful, transform_rewards

__all__ = ["Batch", "RewardTransform", "Stateful", "transform_rewards"]
