"""Paper 45, Scaf-GRPO: tiers of written hints; the least that works replaces one failed rollout.

Knowledge tells the first of four moves, planning two, the solution three and at last all; each of
the twelve levels is tried once. What is learned is learned as it was sampled, hint included: what
carries over to where there is no hint are the moves that a hint left to guess.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agentrl.guidance import GuidanceSettings
from agentrl.papers.kit.doors import moves
from agentrl.papers.kit.hinted import compare
from agentrl.papers.registry import Measured

CLAIM = (
    "Where one group in a hundred has a success, GRPO stays there; with the least written hint "
    "that works, in one rollout of a group, the policy comes to succeed without any."
)
ROLLOUTS, RATE = 9000, 1e-3


def settings() -> GuidanceSettings:
    return GuidanceSettings(kind="scaf_grpo")


def reference(code: Sequence[int]) -> dict[str, Any]:
    """Hints of a tier are shown together, so a level may add nothing to the one before."""
    first, second, third, last = moves(code).split("\n")
    return {
        "knowledge": [first, "", "", ""],
        "planning": [f"{first}\n{second}", "", "", ""],
        "solution": [f"{first}\n{second}\n{third}", "", "", last],
    }


def run(seeds: Sequence[int]) -> Measured:
    return compare(seeds, settings(), reference, rollouts=ROLLOUTS, rate=RATE)
