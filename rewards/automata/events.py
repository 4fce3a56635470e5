"""What happened in a turn, as labels that automata read."""

from __future__ import annotations

from collections.abc import Set

from agentrl.core import Episode

Labels = Set[str]


def labels_of(episode: Episode) -> list[Labels]:
    """The labels of every turn.

    `Turn.rewards` entries above 0 under "label/NAME" give NAME. Besides: "call" and "call:TOOL" for
    every call, "ok" when all calls ran, "error" and "error:TOOL" for those that did not,
    "malformed", "text" for a message without a call, "last" on the last turn, "resolved" there when
    the outcome says so.
    """
    found: list[Labels] = []
    for turn in episode.turns:
        labels = {
            k.removeprefix("label/")
            for k, v in turn.rewards.items()
            if k.startswith("label/") and v > 0
        }
        labels |= {"call", *(f"call:{c.name}" for c in turn.calls)} if turn.calls else {"text"}
        labels |= {"malformed"} if any(c.error for c in turn.calls) else set()
        if turn.calls and len(turn.results) == len(turn.calls):
            bad = [c.name for c, r in zip(turn.calls, turn.results, strict=True) if not r.ok]
            labels |= {"error", *(f"error:{name}" for name in bad)} if bad else {"ok"}
        found.append(labels)
    if found:
        found[-1] = {*found[-1], "last"} | (
            {"resolved"} if episode.outcome.get("resolved") else set()
        )
    return found
