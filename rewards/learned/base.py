"""Reward models that learn while the policy does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from agentrl.core import Group


@dataclass(slots=True)
class Pair:
    """A better and a worse completion of one question, with the reference they are judged by."""

    question: str
    better: str
    worse: str
    reference: str = ""


@runtime_checkable
class CoTrainedRewardModel(Protocol):
    """A reward model that is updated from what the policy did.

    The training loop calls `learn` on the judged groups of a step, after the policy's own update;
    `state_dict` goes into the checkpoint. What it collects from the groups is its own matter: pairs
    (Cooper), episode returns (LaRe), accepted latents (RLFR), critiques (RM-NLHF).
    """

    name: str

    async def learn(self, groups: Sequence[Group]) -> dict[str, float]:
        """Collect data and make one update; metrics. No usable data changes nothing."""
        ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...
