"""Paper 45, Scaf-GRPO: tiers of written hints; the least that works replaces one failed rollout.

Knowledge tells the first of four moves, planning two, solution three and at last all: twelve levels
as in the source, one probe of each; a level without a text of its own shows what its tier has told.
What is learned is learned as it was sampled, hint included.
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
ROLLOUTS = 4000


def settings() -> GuidanceSettings:
    return GuidanceSettings(kind="scaf_grpo")


def reference(code: Sequence[int]) -> dict[str, Any]:
    lines = moves(code).split("\n")
    one, two, three = ("\n".join(lines[:told]) for told in (1, 2, 3))
    return {"knowledge": [one], "planning": [two], "solution": [three, "", "", lines[-1]]}


def run(seeds: Sequence[int]) -> Measured:
    return compare(seeds, settings(), reference, rollouts=ROLLOUTS)
