"""Paper 45, Scaf-GRPO: tiers of written hints; the least that works replaces one failed rollout."""

from __future__ import annotations

from collections.abc import Sequence

from agentrl.guidance import GuidanceSettings
from agentrl.papers.kit.doors import compare
from agentrl.papers.registry import Measured

CLAIM = (
    "Where one group in a hundred has a success, GRPO stays there; with the least written hint "
    "that works, in one rollout of a group, the policy comes to succeed without any."
)
ROLLOUTS = 1800


def settings() -> GuidanceSettings:
    return GuidanceSettings(kind="scaf_grpo")


def run(seeds: Sequence[int]) -> Measured:
    return compare(seeds, settings(), rollouts=ROLLOUTS)
