"""What rewards and verifiers are worth: agreement, attacks, drift, distance."""

from agentrl.rewards.diagnostics.gated import gra_metrics

__all__ = ["gra_metrics"]
