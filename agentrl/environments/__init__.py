"""Environments: what a policy acts in."""

from agentrl.environments.base import Environment, Observation, maybe_await

__all__ = ["Environment", "Observation", "maybe_await"]
