"""Hints made of attempts at the task: what a successful one did, what a failed one was told."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from agentrl.core import Episode, Status
from agentrl.guidance.hints import Ask
from agentrl.guidance.settings import Tier, Trigger
from agentrl.guidance.trigger import succeeded

_THOUGHT = re.compile(r"<think>.*?</think>\s*", re.DOTALL)
_ENDED = {
    Status.MAX_TURNS: "it ran out of turns",
    Status.MAX_TOKENS: "it ran out of tokens",
    Status.DEADLINE: "it ran out of time",
}
TESTS = 3
"""Failing tests that are described."""


@dataclass(slots=True)
class Sibling:
    """What a successful attempt did, thoughts left out; never the attempt's own."""

    tier: Tier
    trigger: Trigger
    levels: int = field(default=1, init=False)

    async def hint(self, ask: Ask, level: int) -> str | None:
        won = [e for e in ask.episodes if e is not ask.attempt and succeeded(e, self.trigger)]
        won = [e for e in won if e.judged]
        return f"An attempt that succeeded:\n{demonstration(won[0])}" if won else None


@dataclass(slots=True)
class Feedback:
    """What the environment said to the failed attempt."""

    tier: Tier
    levels: int = field(default=1, init=False)

    async def hint(self, ask: Ask, level: int) -> str | None:
        episode = ask.attempt or next((e for e in ask.episodes if e.judged), None)
        return feedback(episode) if episode is not None else None


def demonstration(episode: Episode) -> str:
    """The messages of the policy, one a line, without what it thought."""
    said = (_THOUGHT.sub("", turn.text).strip() for turn in episode.turns)
    return "\n".join(text for text in said if text)


def feedback(episode: Episode) -> str:
    """What an attempt that failed could be told, in words: how it ended, which tests failed and
    how, which calls went wrong, what the rewards say."""
    lines = [*_ending(episode), *_tests(episode), *_calls(episode), *_verdict(episode)]
    if not lines:
        return ""
    return "An earlier attempt failed:\n" + "\n".join(f"- {line}" for line in lines)


def _ending(episode: Episode) -> list[str]:
    found = []
    if episode.status in _ENDED:
        found.append(_ENDED[episode.status])
    outcome = episode.outcome
    if outcome.get("feedback"):
        found.append(str(outcome["feedback"]))
    if outcome.get("submitted") is False:
        found.append("nothing was submitted")
    elif outcome.get("modified") is False:
        found.append("no file was changed")
    for path, why in dict(outcome.get("refused") or {}).items():
        found.append(f"the change to {path} does not count: {why}")
    return found


def _tests(episode: Episode) -> list[str]:
    """Tests of the verdict; else the last output of a tool that ran some."""
    failures: dict[str, str] = dict(episode.outcome.get("failures") or {})
    if failures:
        shown = [f"{test} failed: {why}" for test, why in list(failures.items())[:TESTS]]
        more = len(failures) - len(shown)
        return [*shown, f"{more} more tests failed"] if more > 0 else shown
    for turn in reversed(episode.turns):
        for call, result in zip(turn.calls, turn.results, strict=False):
            if "test" in call.name and result.text:
                return [f"the last run of the tests said: {result.text}"]
    return []


def _calls(episode: Episode) -> list[str]:
    """The last call that went wrong."""
    for turn in reversed(episode.turns):
        for call, result in zip(turn.calls, turn.results, strict=False):
            if not result.ok and result.error != "episode_over":
                given = json.dumps(call.arguments, ensure_ascii=False, default=str)
                return [f"the call {call.name} {given} went wrong: {result.text}"]
    return []


def _verdict(episode: Episode) -> Sequence[str]:
    score = episode.scores.get("reward")
    if score is None:
        return []
    told = [f"{c.name}: {c.evidence}" for c in score.checks if c.passed is False and c.evidence]
    return told or ([score.evidence] if score.evidence else [])
