"""Paper 42, Agent-RLVR: attempt, tests, guidance for what failed, re-attempt, update.

Each failed attempt is made once more with a plan; what is learned is learned without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agentrl.guidance import GuidanceSettings
from agentrl.papers.kit.doors import moves
from agentrl.papers.kit.hinted import compare
from agentrl.papers.registry import Measured

CLAIM = (
    "Where one group in a hundred has a success, reinforcement learning from verifiable rewards "
    "stays there; with guidance after failure the policy comes to succeed without any."
)
ROLLOUTS = 1600


def settings() -> GuidanceSettings:
    return GuidanceSettings(kind="agent_rlvr")


def reference(code: Sequence[int]) -> dict[str, Any]:
    return {"plan": moves(code)}


def run(seeds: Sequence[int]) -> Measured:
    return compare(seeds, settings(), reference, rollouts=ROLLOUTS)
