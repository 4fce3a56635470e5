"""The reward of an agent that proves its work (SmartSnap, paper 38)."""

from __future__ import annotations

from dataclasses import dataclass, field

from agentrl.core import ChatModel, Check, Episode, Score
from agentrl.rewards.evidence.submission import Submission, read_submission
from agentrl.rewards.evidence.votes import ModelVotes, RuleVotes, Show, Voter, Votes


@dataclass(slots=True)
class EvidenceReward:
    """R = format + validity + completeness + conciseness of chosen evidence (SmartSnap, paper 38)

        format        -1 for what is no submission; the judge is not asked, and the rest is 0
        validity      -1 unless more than half of the votes say valid
        completeness  +1 when more than half of the votes say success
        conciseness   -over * max(evidence - free, 0)

    so that a complete proof is worth 1, a proof of the wrong thing 0 and an empty one -1. Each is
    a check. Votes that cannot be read or that an outage takes do not count; when none is left the
    score abstains (unreadable), or the outage is raised (`InfraError`): it is never -1.

    Attributes:
        judge: asked `votes` times, shown the evidence as `show` says (pictures where there are
            some); None: the rules of `Task.reference["proof"]` decide, see `RuleVotes`.
        tools: weight of the shaping for acting at all: 1 for any action of a success, else 0.1 for
            each of them, 1 at most; the check "tools" ({kind: fade, of: evidence, check: tools}
            takes it away over time).
    """

    judge: ChatModel | None = None
    votes: int = 3
    temperature: float = 0.7
    show: Show = "text"
    free: int = 3
    over: float = 0.1
    tools: float = 0.0
    name: str = "evidence"
    voter: Voter = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.votes < 1 or self.free < 1 or self.over < 0:
            raise ValueError("votes and free must be 1 or more, over 0 or more")
        if self.judge is None:
            self.voter = RuleVotes()
        else:
            self.voter = ModelVotes(self.judge, self.votes, self.temperature, self.show)

    async def score(self, episode: Episode) -> Score:
        if "rounds" not in episode.outcome:
            return Score(abstained=True, evidence="the environment numbers no rounds ('rounds')")
        submission = read_submission(episode)
        if submission.problem:
            checks = _checks(-1.0, 0.0, 0.0, 0.0)
            return Score(-1.0, checks, evidence=submission.problem)
        votes = await self.voter.vote(episode, submission)
        if not votes.cast:
            return Score(abstained=True, evidence=votes.reason, cost=votes.cost)
        return self._judged(submission, votes)

    def _judged(self, submission: Submission, votes: Votes) -> Score:
        outcome = decided(votes)
        surplus = max(len(submission.evidence) - self.free, 0)
        checks = _checks(0.0, min(outcome, 0.0), max(outcome, 0.0), 0.0 - self.over * surplus)
        if self.tools:
            worth = min(0.1 * submission.calls, 1.0)
            if outcome > 0:
                worth = float(submission.calls > 0)
            checks.append(Check("tools", self.tools * worth))
        value = sum(check.value for check in checks)
        checks += [
            Check("count", float(len(submission.evidence))),
            Check("valid_votes", votes.valid / votes.cast),
            Check("success_votes", votes.success / votes.cast),
        ]
        said = f"{votes.lost} votes lost; {votes.reason}" if votes.lost else votes.reason
        return Score(value, checks, evidence=said, cost=votes.cost)


def decided(votes: Votes) -> float:
    """1 for more than half of the votes for success, else 0 for more than half for validity,
    else -1."""
    if 2 * votes.success > votes.cast:
        return 1.0
    return 0.0 if 2 * votes.valid > votes.cast else -1.0


def _checks(form: float, validity: float, complete: float, concise: float) -> list[Check]:
    return [
        Check("format", form, form == 0),
        Check("validity", validity, form == 0 and validity == 0),
        Check("completeness", complete, complete > 0),
        Check("conciseness", concise, concise == 0),
    ]
