"""The reward that trains a judge of flaws: how near it put the first wrong step (FAPO)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from agentrl.core import Episode, Score

CLEAN = -1
"""The first wrong step of an answer that has none."""


@dataclass(slots=True)
class FlawFound:
    """1 for the right verdict; else less, by how far off the located step is (paper 47).

    The judge is the policy of the episode. Reads `outcome["first_error"]`, the step it named (-1
    for a clean answer, None if its output could not be read), and the truth from
    `task.reference`: `first_error`, and `steps`, how many there are.

        unreadable -1 · clean: 1 if called clean, else -1
        flawed: -1 if called clean, else 1 - |named - truth| / steps
    """

    name: str = "flaw_found"

    async def score(self, episode: Episode) -> Score:
        reference: Any = episode.task.reference
        if not isinstance(reference, dict) or "first_error" not in reference:
            return Score(abstained=True, evidence="the task does not say where the first error is")
        named, truth = episode.outcome.get("first_error"), int(reference["first_error"])
        if named is None:
            return Score(-1.0, evidence="the verdict could not be read")
        if (named == CLEAN) != (truth == CLEAN):
            return Score(-1.0, evidence=f"named step {named}, the first wrong one is {truth}")
        if truth == CLEAN:
            return Score(1.0, evidence="clean, and called clean")
        off = abs(int(named) - truth) / max(int(reference.get("steps", 1)), 1)
        return Score(1.0 - off, evidence=f"named step {named}, the first wrong one is {truth}")
