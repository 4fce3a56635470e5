"""What to do, and what is needed to judge it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Task:
    """One thing for an agent to do.

    Attributes:
        id: unique within a run; statistics, replay and seeds are keyed by it.
        prompt: what the policy is told.
        environment: name of the environment that can run it ("" when the run has only one).
        payload: what the environment needs to set the scene (the policy may come to see it).
        reference: privileged: gold patch, answers, hidden tests. It reaches rewards and
            guidance, never the policy or its sandbox.
        metadata: anything else worth keeping (source, difficulty, split).
    """

    id: str
    prompt: str
    environment: str = ""
    payload: dict[str, Any] = field(default_factory=dict)
    reference: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
