"""What an agent handed in: a message, and the rounds that are to prove it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agentrl.core import Episode, Image, ToolCall

SUBMIT = "submit"


@dataclass(slots=True, frozen=True)
class Snapshot:
    """One round: what was done, and what the screen showed then.

    Addressed by its number, an evidence cannot be paraphrased: it is the observation itself.
    """

    round: int
    action: str
    text: str
    images: tuple[Image, ...] = ()


@dataclass(slots=True)
class Submission:
    """What was handed in.

    Attributes:
        evidence: round numbers as they were given, repetitions too.
        problem: why it is no submission ("" when it is one): then no judge is asked.
        calls: actions before it.
    """

    message: str = ""
    evidence: list[int] = field(default_factory=list)
    snapshots: list[Snapshot] = field(default_factory=list)
    problem: str = ""
    calls: int = 0


def read_submission(episode: Episode) -> Submission:
    """The submission of an episode, its evidence in the order of the rounds.

    It is one when there is exactly one call of `submit`, that call is the last, and its evidence
    names rounds there were, one or more, none of them a submission.
    """
    calls = [call for turn in episode.turns for call in turn.calls]
    submits = sum(call.name == SUBMIT for call in calls)
    found = Submission(calls=len(calls) - submits)
    if submits != 1 or calls[-1].name != SUBMIT:
        found.problem = (
            f"{SUBMIT} is not the last call" if submits == 1 else f"{submits} submissions"
        )
        return found
    if calls[-1].error is not None:
        found.problem = f"malformed: {calls[-1].error}"
        return found
    arguments = calls[-1].arguments
    given = arguments.get("evidence")
    found.message = str(arguments.get("message", ""))
    if not isinstance(given, list) or not given or not all(_is_number(x) for x in given):
        found.problem = "no round is named" if not given else f"{given!r} are no round numbers"
        return found
    found.evidence = [int(x) for x in given]
    rounds = snapshots(episode)
    missing = [r for r in found.evidence if r not in rounds]
    if missing:
        found.problem = f"there is no snapshot of round {missing[0]}"
        return found
    found.snapshots = [rounds[r] for r in sorted(set(found.evidence))]
    return found


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def snapshots(episode: Episode) -> dict[int, Snapshot]:
    """Every round that can be evidence, by its number; a submission's round is none.

    Reads `outcome["rounds"]`: {"round", "turn", "call"}, the place of the observation among the
    turns; turn -1 is the prompt's last message.
    """
    found = {}
    for entry in episode.outcome.get("rounds", ()):
        snapshot = _snapshot(episode, entry)
        if snapshot is not None:
            found[snapshot.round] = snapshot
    return found


def _snapshot(episode: Episode, entry: Mapping[str, Any]) -> Snapshot | None:
    number, t, c = int(entry["round"]), int(entry["turn"]), int(entry.get("call", 0))
    if t < 0:
        first = episode.prompt[-1]
        return Snapshot(number, "(the beginning)", first.content, tuple(first.images))
    turn = episode.turns[t]
    if c >= len(turn.results) or turn.calls[c].name == SUBMIT:
        return None
    result = turn.results[c]
    return Snapshot(number, action(turn.calls[c]), result.text, tuple(result.images))


def action(call: ToolCall) -> str:
    """A call as people write it."""
    given = ", ".join(f"{name}={value!r}" for name, value in call.arguments.items())
    return f"{call.name}({given})"
