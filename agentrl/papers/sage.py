"""Paper 15, SAGE: the policy hints itself, level by level, until a group has a success.

The hints are written by the policy that is being trained, shown the solution. A group that fails is
rolled out again with more of a hint, and what is learned is learned in that context; the measure is
how often doors open without one. (SAGE-light, which keeps a level per task, is a preset beside it.)
"""

from __future__ import annotations

from collections.abc import Sequence

from agentrl.guidance import GuidanceSettings
from agentrl.papers.kit.doors import LEVELS, TUTOR, compare
from agentrl.papers.registry import Measured

CLAIM = (
    "Where one group in a hundred has a success, GRPO stays there; with hints of its own, level "
    "by level, the policy comes to succeed without any."
)
ROLLOUTS = 1800
TIER = {"kind": "self", "levels": len(LEVELS), "answer": "text", "prompt": TUTOR, "tokens": 48}


def settings(kind: str = "sage") -> GuidanceSettings:
    return GuidanceSettings.model_validate({"kind": kind, "ladder": [TIER]})


def run(seeds: Sequence[int]) -> Measured:
    return compare(seeds, settings(), rollouts=ROLLOUTS, told=False)
