"""Paper 15, SAGE: the policy hints itself, level by level, until a group has a success.

The hints are written by the policy that is being trained, shown the moves. A group that fails is
rolled out again with more of a hint, and what is learned is learned in that context; the measure is
how often doors open without one. (SAGE-light, which keeps a level per task, is a preset beside it.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agentrl.guidance import GuidanceSettings
from agentrl.papers.kit.doors import TIERS, TUTOR, moves
from agentrl.papers.kit.hinted import compare
from agentrl.papers.registry import Measured

CLAIM = (
    "Where one group in a hundred has a success, GRPO stays there; with hints of its own, level "
    "by level, the policy comes to succeed without any."
)
ROLLOUTS = 2000
TIER = {"kind": "self", "levels": len(TIERS), "answer": "text", "prompt": TUTOR, "tokens": 24}


def settings() -> GuidanceSettings:
    return GuidanceSettings.model_validate({"kind": "sage", "ladder": [TIER]})


def reference(code: Sequence[int]) -> dict[str, Any]:
    return {"moves": moves(code)}


def run(seeds: Sequence[int]) -> Measured:
    return compare(seeds, settings(), reference, rollouts=ROLLOUTS)
