"""Step rewards: one number per turn, read from what the turn called and what it was answered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from agentrl.core import Episode, Score, Turn


@dataclass(slots=True)
class FormatOk:
    """Was each message a tool call one can read: `good` per well-formed turn, else `bad`.

    Well-formed is at least one call and no malformed one. `value` is the mean over turns (0 for
    an episode without turns).
    """

    good: float = 1.0
    bad: float = -1.0
    name: str = "format_ok"

    async def score(self, episode: Episode) -> Score:
        return _per_turn(episode, well_formed, self.good, self.bad, "well-formed")


@dataclass(slots=True)
class ToolOk:
    """Did each turn's calls run: `good` per turn whose calls all ran without error, else `bad`.

    A turn without a call is `bad`. `value` is the mean over turns.
    """

    good: float = 1.0
    bad: float = 0.0
    name: str = "tool_ok"

    async def score(self, episode: Episode) -> Score:
        return _per_turn(episode, ran_without_error, self.good, self.bad, "ran without error")


def well_formed(turn: Turn) -> bool:
    """At least one call was parsed from the message and none is malformed."""
    return bool(turn.calls) and all(call.error is None for call in turn.calls)


def ran_without_error(turn: Turn) -> bool:
    """Every call of the turn was executed and succeeded; there was at least one."""
    return (
        bool(turn.calls)
        and len(turn.results) == len(turn.calls)
        and all(result.ok for result in turn.results)
    )


def _per_turn(
    episode: Episode, test: Callable[[Turn], bool], good: float, bad: float, what: str
) -> Score:
    passed = [test(turn) for turn in episode.turns]
    steps = [good if ok else bad for ok in passed]
    return Score(
        value=sum(steps) / len(steps) if steps else 0.0,
        steps=steps,
        evidence=f"{sum(passed)} of {len(passed)} turns {what}",
    )
