"""Who votes on evidence: a model that sees nothing else, or rules over what it shows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from pydantic import BaseModel, TypeAdapter, ValidationError

from agentrl.core import ChatModel, Episode, Image
from agentrl.rewards.evidence.submission import Snapshot, Submission
from agentrl.rewards.judges.judge import Judge
from agentrl.rewards.judges.template import Template

Show = Literal["text", "image", "both"]


@dataclass(slots=True)
class Votes:
    """How many votes were cast, and how many of them say valid and success.

    Attributes:
        reason: of one of the votes.
        lost: votes that an outage took, or that could not be read.
    """

    cast: int
    valid: int
    success: int
    reason: str = ""
    lost: int = 0
    cost: float = 0.0


class Voter(Protocol):
    async def vote(self, episode: Episode, submission: Submission) -> Votes:
        """Raises `InfraError` when nobody who votes can be reached."""
        ...


class Verdict(BaseModel):
    """On the evidence alone."""

    reason: str = ""
    valid: bool
    success: bool


TEMPLATE = Template(
    "evidence",
    "You decide whether an agent did a task on a screen. All you get is its claim and the snapshots"
    " it chose as evidence, each an action and what the screen showed after it.\n"
    "First, is the evidence valid: do the snapshots show what the task is about? Evidence that"
    " proves a failure is valid; evidence of something else is not.\n"
    "Then, is it a success: every part of the task must be seen as done in a snapshot. The claim"
    " itself proves nothing, and nothing counts that you would have to suppose. Where snapshots"
    " disagree, the later one holds. Evidence that is not valid is no success, and where the agent"
    " says that it did not manage, it did not.",
    "The task:\n{task}\n\nThe claim:\n{claim}\n\nThe evidence:\n{evidence}",
)


@dataclass(slots=True)
class ModelVotes:
    """Independent calls of a judge; those that an outage takes are left out unless it takes all."""

    judge: ChatModel
    votes: int = 3
    temperature: float = 0.7
    show: Show = "text"
    _asked: Judge[Verdict] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._asked = Judge(
            self.judge, TEMPLATE, Verdict, self.votes, self.temperature, outages="left out"
        )

    async def vote(self, episode: Episode, submission: Submission) -> Votes:
        text, images = evidence(submission.snapshots, self.show)
        given = {"task": episode.task.prompt, "claim": submission.message, "evidence": text}
        ballot = await self._asked.ask(given, images)
        valid = [v for v in ballot.answers if v.valid]
        success = [v for v in valid if v.success]
        reasons = [v.reason for v in [*success, *valid, *ballot.answers] if v.reason]
        return Votes(
            len(ballot.answers),
            len(valid),
            len(success),
            reasons[0] if reasons else ballot.said,
            len(ballot.unread),
            ballot.cost,
        )


def evidence(snapshots: Sequence[Snapshot], show: Show) -> tuple[str, list[Image]]:
    """Snapshots as a judge is shown them: text, and the pictures it refers to.

    A snapshot without a picture is shown as text whatever was asked for.
    """
    parts: list[str] = []
    images: list[Image] = []
    for snapshot in snapshots:
        pictured = show != "text" and bool(snapshot.images)
        lines = [f"[round {snapshot.round}] after {snapshot.action}:"]
        if pictured:
            lines.append(f"(picture {len(images) + 1})")
            images.append(snapshot.images[-1])
        if show != "image" or not pictured:
            lines.append(snapshot.text)
        parts.append("\n".join(lines))
    return "\n\n".join(parts), images


class Proof(BaseModel, extra="forbid"):
    """One thing that evidence has to show.

    Attributes:
        page: text by which a snapshot is one of the page that shows it.
        shows: texts that must all be there.
        lacks: texts that must not.
    """

    page: str
    shows: list[str] = []
    lacks: list[str] = []


_PROOFS = TypeAdapter(list[Proof])
_ADMITS = re.compile(
    r"\b(?:fail(?:ed|ure)?|unable|impossible|cannot|(?:could|did|can|was|were) ?n(?:ot|'t|’t))\b",
    re.IGNORECASE,
)


@dataclass(slots=True)
class RuleVotes:
    """One vote by `Task.reference["proof"]`, a list of `Proof`; no model is asked.

    Valid: some snapshot is of a page of the proof. Success: for every proof the last snapshot of
    its page shows what it should, the agent admits no failure, and the end state holds where the
    environment checked it (`outcome["solved"]`).
    """

    reference: str = "proof"

    async def vote(self, episode: Episode, submission: Submission) -> Votes:
        given = episode.task.reference.get(self.reference)
        if not given:
            return Votes(0, 0, 0, f"the task has no reference {self.reference!r}")
        try:
            proofs = _PROOFS.validate_python(given)
        except ValidationError as error:
            return Votes(0, 0, 0, f"reference {self.reference!r}: {error.errors()[0]['msg']}")
        problems = [problem for p in proofs if (problem := _missing(p, submission.snapshots))]
        valid = any(p.page in s.text for p in proofs for s in submission.snapshots)
        if _ADMITS.search(submission.message):
            problems.append("the agent says that it did not manage")
        if episode.outcome.get("solved") is False:
            problems.append("at the end it is not done")
        return Votes(1, int(valid), int(valid and not problems), "; ".join(problems))


def _missing(proof: Proof, snapshots: Sequence[Snapshot]) -> str:
    """What the last snapshot of a proof's page lacks; "" for nothing."""
    pages = [s.text for s in snapshots if proof.page in s.text]
    if not pages:
        return f"no snapshot of {proof.page!r}"
    absent = [text for text in proof.shows if text not in pages[-1]]
    present = [text for text in proof.lacks if text in pages[-1]]
    said = [f"{text!r} is not seen" for text in absent] + [f"{text!r} is seen" for text in present]
    return ", ".join(said)
