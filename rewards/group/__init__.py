"""Rewards that compare episodes with each other."""

from agentrl.rewards.group.base import BatchReward, GroupReward, judge_groups

__all__ = ["BatchReward", "GroupReward", "judge_groups"]
