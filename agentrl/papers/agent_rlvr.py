"""Paper 42, Agent-RLVR: attempt, tests, guidance for what failed, re-attempt, update.

Each failed attempt is made once more with a plan and what the environment said; what is learned is
learned without them. The published update is a direct preference between what passed and what
failed (`agent_rlvr_dpo`), trained here as well.
"""

from __future__ import annotations

from collections.abc import Sequence

from agentrl.guidance import GuidanceSettings
from agentrl.papers.kit.doors import compare
from agentrl.papers.registry import Measured

CLAIM = (
    "Where one group in a hundred has a success, reinforcement learning from verifiable rewards "
    "stays there; with guidance after failure the policy comes to succeed without any, by policy "
    "gradient and by preference."
)
ROLLOUTS = 1000


def settings(kind: str = "agent_rlvr") -> GuidanceSettings:
    return GuidanceSettings(kind=kind)


def run(seeds: Sequence[int]) -> Measured:
    gradient = compare(seeds, settings(), rollouts=ROLLOUTS)
    pairs = compare(seeds, settings("agent_rlvr_dpo"), rollouts=ROLLOUTS)
    rows = [*gradient.rows, *pairs.rows]
    return Measured(gradient.passed and pairs.passed, gradient.columns, rows)
