"""Rewards with a memory: reward machines and temporal logic over the events of an episode."""

from agentrl.rewards.automata.ltlf import Ltlf
from agentrl.rewards.automata.machine import RewardMachine, Transition

__all__ = ["Ltlf", "RewardMachine", "Transition"]
