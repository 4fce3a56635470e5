"""CM2's step-level advantages, and those of its user turns (paper 23)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from agentrl.core import Episode, Group, Score
from agentrl.rewards.group.base import abstain_all
from agentrl.rewards.process.checklist import (
    Checklist,
    satisfied_matrix,
    step_advantages,
    steps_by_turn,
    turn_credit,
)


@dataclass(slots=True)
class ChecklistGroup:
    """Advantages of checklist rewards by user turn or by step, over the score `of`.

    The score's steps are advantages already: learn with {source: steps, discount: 0, by: [],
    baseline: none}. The value stays the checklist's. A user turn that fewer than `min_group`
    rollouts reached has advantage 0 (the paper's code ignores 4 and fewer).

        turn  every message of user turn t gets R_t - mean_i R_t
        step  a message gets A_step (see `step_advantages`)
    """

    level: Literal["turn", "step"] = "step"
    of: str = "checklist"
    reference: str = "checklist"
    min_group: int = 5
    name: str = "checklist_group"

    async def compare(self, group: Group, episodes: Sequence[Episode]) -> list[Score]:
        given = episodes[0].task.reference.get(self.reference)
        if given is None or any(self.of not in e.scores for e in episodes):
            return abstain_all(episodes, f"no checklist score {self.of!r}")
        checklist = Checklist.model_validate({"turns": given} if isinstance(given, list) else given)
        matrices = [satisfied_matrix(e.scores[self.of], checklist, e) for e in episodes]
        steps = [np.zeros(len(e.turns)) for e in episodes]
        for t, items in enumerate(checklist.turns):
            reached = [i for i, m in enumerate(matrices) if len(m[t])]
            if len(reached) < self.min_group or not items:
                continue
            credits = [turn_credit(items, matrices[i][t]) for i in reached]
            if self.level == "step":
                found = step_advantages(items, credits)
            else:
                weights = np.array([item.weight for item in items])
                totals = np.array([(c.flips * weights).sum() for c in credits])
                found = [
                    np.full(len(c.flips), r)
                    for c, r in zip(credits, totals - totals.mean(), strict=True)
                ]
            for i, values in zip(reached, found, strict=True):
                steps[i][steps_by_turn(episodes[i], len(checklist.turns))[t]] = values
        return [
            Score(e.scores[self.of].value, list(e.scores[self.of].checks), s.tolist())
            for e, s in zip(episodes, steps, strict=True)
        ]
