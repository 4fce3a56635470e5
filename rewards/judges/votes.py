"""How several votes become one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal

BoolRule = Literal["any", "all", "majority", "mean"]
SetRule = Literal["intersection", "majority", "union"]


def decide(votes: Sequence[bool | float], rule: BoolRule = "majority") -> float:
    """One number in [0, 1]; a majority is at least half (paper 22: two votes 1, 0 are a yes).

    Raises ValueError without votes: who asked abstains then.
    """
    if not votes:
        raise ValueError("no votes")
    if rule == "any":
        return float(any(votes))
    if rule == "all":
        return float(all(votes))
    mean = sum(map(float, votes)) / len(votes)
    return mean if rule == "mean" else float(mean >= 0.5)


def decide_sets(votes: Sequence[Iterable[int]], rule: SetRule = "majority") -> set[int]:
    """The members that all, at least half, or any of the votes name (CAPO, paper 41)."""
    if not votes:
        return set()
    counts = Counter(member for vote in votes for member in set(vote))
    least = {"intersection": len(votes), "majority": len(votes) / 2, "union": 1}[rule]
    return {member for member, count in counts.items() if count >= least}


def agreement(votes: Sequence[object]) -> float:
    """Share of the most frequent vote; 0 without votes."""
    return max(Counter(votes).values()) / len(votes) if votes else 0.0
