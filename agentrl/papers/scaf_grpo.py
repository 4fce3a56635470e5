"""Paper 45, Scaf-GRPO: tiers of written hints; the least that works replaces one failed rollout.

Knowledge names two moves for each dial, one of which is right; planning tells the first move and
leaves the others a choice; the solution tells three, then all. One probe of each; what is learned
is learned as it was sampled, hint included.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from agentrl.core import derive_seed
from agentrl.guidance import GuidanceSettings
from agentrl.papers.kit.doors import moves, narrowed
from agentrl.papers.kit.hinted import compare
from agentrl.papers.registry import Measured

CLAIM = (
    "Where one group in a hundred has a success, GRPO stays there; with the least written hint "
    "that works, in one rollout of a group, the policy comes to succeed without any."
)
ROLLOUTS = 3600


def settings() -> GuidanceSettings:
    levels = {"knowledge": 1, "planning": 1, "solution": 2}
    tiers = [{"kind": "static", "key": key, "levels": n} for key, n in levels.items()]
    return GuidanceSettings.model_validate({"kind": "scaf_grpo", "ladder": {"tiers": tiers}})


def reference(code: Sequence[int]) -> dict[str, Any]:
    rng = random.Random(derive_seed(0, "choices", *code))
    none, one = (narrowed(code, known, rng) for known in (0, 1))
    *first, last = moves(code).split("\n")
    return {"knowledge": [none], "planning": [one], "solution": ["\n".join(first), last]}


def run(seeds: Sequence[int]) -> Measured:
    return compare(seeds, settings(), reference, rollouts=ROLLOUTS, choices=True)
