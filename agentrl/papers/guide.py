"""Paper 51, Guide: a failed group is rolled out with a hint, and learned as if without one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agentrl.guidance import GuidanceSettings
from agentrl.papers.kit.doors import moves
from agentrl.papers.kit.hinted import compare
from agentrl.papers.registry import Measured

CLAIM = (
    "Where one group in a hundred has a success, GRPO stays there; hinted rollouts, learned by "
    "the ratio to the context without the hint, make the policy succeed without it."
)
ROLLOUTS = 2400


def settings() -> GuidanceSettings:
    return GuidanceSettings(kind="guide")


def reference(code: Sequence[int]) -> dict[str, Any]:
    return {"hint": moves(code)}


def run(seeds: Sequence[int]) -> Measured:
    return compare(seeds, settings(), reference, rollouts=ROLLOUTS)
