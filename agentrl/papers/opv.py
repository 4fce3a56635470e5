"""Paper 12, OPV: where the first error is, how sure the votes are, and what that is worth."""

from __future__ import annotations

import math
from collections.abc import Sequence

from agentrl.papers.kit.toys import episode, listed, table, wait
from agentrl.papers.registry import Measured
from agentrl.rewards.judges.scripted import ScriptedChat
from agentrl.rewards.process.first_error import (
    FirstErrorJudge,
    ProcessVerified,
    summarise,
    verifier_reward,
    weighted_vote,
)
from agentrl.rewards.verifiers import Item

CLAIM = (
    "Votes (-1, -1, 3, -1) say right with 0.75 and uncertain with 0.25; answers are weighed by "
    "how right their solutions are; a summary with another answer is refused."
)


def _voter(votes: Sequence[int]) -> ScriptedChat:
    left = list(votes)
    return ScriptedChat(lambda text, seed: {"first_wrong": left.pop(0)})


def run(seeds: Sequence[int]) -> Measured:
    solution = Item("q", "one\n\ntwo\n\nthree", None)
    score = wait(FirstErrorJudge(_voter([-1, -1, 3, -1]), votes=4).verify(solution))
    cases = [("v", 0.75, score.value), ("u", 0.25, score.checks[0].value)]
    vote = weighted_vote(["A", "A", "B"], [0.75, 0.25, 0.9])
    cases.append(("A (1.0) beats B (0.9)", 1.0, float(vote == "A")))
    turns = episode(["one", "two", "three", "four"])
    found = wait(ProcessVerified(_voter([3, 3, -1]), votes=3).score(turns))
    cases += listed("steps of a first error at 3", [1, 1, -1, 0], found.steps)
    cases += [
        ("right label", 1.0, verifier_reward(3, 3)),
        ("one off, exact", 0.0, verifier_reward(2, 3)),
        ("one off, soft", math.exp(-1), verifier_reward(2, 3, "soft")),
        ("an error where none is, soft", 0.0, verifier_reward(2, -1, "soft")),
    ]
    other = ScriptedChat(lambda text, seed: {"steps": ["x"], "answer": "7"})
    cases.append(
        ("summary with another answer", 1.0, float(wait(summarise(other, "q", "t", "8")) is None))
    )
    cases.append(("asked again", 3.0, other.asked))
    unread = wait(FirstErrorJudge(ScriptedChat(lambda t, s: "no idea"), votes=3).verify(solution))
    cases.append(("unreadable votes abstain", 1.0, float(unread.abstained)))
    return table(cases)
