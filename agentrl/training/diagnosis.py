"""Why an episode failed, in a few words, and where it went wrong: by rule, from its record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from agentrl.core import Episode, Status
from agentrl.training.progress import solved


@dataclass(slots=True, frozen=True)
class Cluster:
    """Episodes that failed alike.

    Attributes:
        cause: in words.
        tasks: ids, those with the most such episodes first.
    """

    cause: str
    episodes: tuple[str, ...]
    tasks: tuple[str, ...]


def cause_of(episode: Episode) -> str:
    """How it ended, what the environment or the reward found wanting, and what went wrong with its
    calls; equal for episodes that failed alike. "solved" for one that did not."""
    if solved(episode):
        return "solved"
    if episode.status == Status.INFRA_ERROR:
        return f"broken: {episode.cause}"
    said = [str(episode.status)]
    grading = episode.outcome.get("grading")
    if isinstance(grading, str) and grading:
        said.append(grading)
    elif missing := _failed_check(episode):
        said.append(f"{missing} fails")
    elif not episode.judged:
        said.append("not judged")
    errors = Counter(r.error for t in episode.turns for r in t.results if r.error)
    if errors:
        said.append(f"calls {max(sorted(errors), key=errors.__getitem__)}")
    elif not any(turn.calls for turn in episode.turns):
        said.append("no call")
    return ", ".join(said)


def _failed_check(episode: Episode) -> str:
    """The first check that failed, without numbers of turns and the like."""
    score = episode.scores.get("reward")
    checks = score.checks if score else ()
    name = next((c.name for c in checks if c.passed is False), "")
    return name.rstrip("0123456789/ ")


def clusters(episodes: Sequence[Episode]) -> list[Cluster]:
    """Failed episodes by cause, the most frequent first."""
    found: dict[str, list[Episode]] = {}
    for episode in episodes:
        cause = cause_of(episode)
        if cause != "solved":
            found.setdefault(cause, []).append(episode)
    ordered = sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))
    return [
        Cluster(cause, tuple(e.id for e in alike), _most_common([e.task.id for e in alike]))
        for cause, alike in ordered
    ]


def _most_common(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name, _ in Counter(names).most_common())


def wrong_turn(episode: Episode) -> int:
    """The turn where it went wrong: the first that a check failed or a reward counted against it;
    else the first whose call was refused; else the last."""
    score = episode.scores.get("reward")
    if score is not None:
        blamed = [c.turn for c in score.checks if c.turn >= 0 and c.passed is False]
        blamed += [t for t, step in enumerate(score.steps) if step < 0][:1]
        blamed = [t for t in blamed if t < len(episode.turns)]
        if blamed:
            return min(blamed)
    for number, turn in enumerate(episode.turns):
        if any(not result.ok for result in turn.results) or any(c.error for c in turn.calls):
            return number
    return max(len(episode.turns) - 1, 0)
