"""Majority vote: the group's most frequent answer is taken for right (paper 27)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from agentrl.core import Check, Episode, Group, Score
from agentrl.rewards.verifiers.extract import extract
from agentrl.rewards.verifiers.text import normalise


@dataclass(slots=True)
class MajorityVote:
    """1 for episodes whose answer is the group's most frequent, else 0; no labels are needed.

    On a tie the answer seen first wins, and a check "tie" says so. Episodes without an answer get
    0 and have no vote. It can only sharpen: watch `CollapseMonitor`.
    """

    extract: str = "last"
    name: str = "majority_vote"

    async def compare(self, group: Group, episodes: Sequence[Episode]) -> list[Score]:
        found = [extract(episode, self.extract) for episode in episodes]
        rewards, tie = majority([None if a is None else normalise(a) for a in found])
        share = sum(rewards) / len(rewards)
        checks = [Check("majority", share), Check("tie", float(tie), not tie)]
        return [Score(r, list(checks)) for r in rewards]


def majority(answers: Sequence[str | None]) -> tuple[list[float], bool]:
    """(1 where the answer is the most frequent, whether two were as frequent)."""
    votes = Counter(a for a in answers if a)
    if not votes:
        return [0.0] * len(answers), False
    ranked = votes.most_common(2)
    winner, count = ranked[0]
    return [float(a == winner) for a in answers], len(ranked) > 1 and ranked[1][1] == count
