"""What a verifier is, and how one becomes a reward."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from agentrl.core import Episode, Score
from agentrl.rewards.verifiers.extract import extract

LONGEST_ANSWER = 20_000
"""Characters of an answer that a verifier looks at; a longer one is wrong (paper 61: enormous
inputs are an attack)."""


@dataclass(slots=True)
class Item:
    """One answer to be verified.

    Attributes:
        question: what was asked; answer: what the policy gave; reference: what is right, in the
            form that the verifier documents.
    """

    question: str
    answer: str
    reference: Any


@runtime_checkable
class Verifier(Protocol):
    """Says how right an answer is.

    The score's value is in [0, 1]; it abstains where it cannot know (no reference, a judge's
    answer that cannot be read). Raises `InfraError` when what it needs is down.
    """

    name: str

    async def verify(self, item: Item) -> Score: ...


def verdict(right: bool | float, evidence: str = "") -> Score:
    """A verifier's score of one value in [0, 1]."""
    return Score(float(right), evidence=evidence)


@dataclass(slots=True)
class Verified:
    """A verifier as an outcome reward.

    value = wrong + (right - wrong) * verdict, and `missing` when the episode has no answer. With
    right 1, wrong -0.5, missing -1 this is RISE's ladder (paper 9).

    Attributes:
        verifier: judges the answer.
        extract: where the answer is; see `extract`.
        reference: key of `Task.reference` that holds what is right.
    """

    verifier: Verifier
    extract: str = "last"
    reference: str = "answer"
    right: float = 1.0
    wrong: float = 0.0
    missing: float = 0.0
    name: str = ""

    def __post_init__(self) -> None:
        self.name = self.name or self.verifier.name

    async def score(self, episode: Episode) -> Score:
        if self.reference not in episode.task.reference:
            return Score(abstained=True, evidence=f"the task has no reference {self.reference!r}")
        answer = extract(episode, self.extract)
        if answer is None:
            return Score(self.missing, evidence=f"no answer ({self.extract})")
        wanted = episode.task.reference[self.reference]
        found = await self.verifier.verify(Item(episode.task.prompt, answer, wanted))
        if not found.abstained:
            found.value = self.wrong + (self.right - self.wrong) * found.value
        return found


def too_long(answer: str) -> Score | None:
    """The verdict on an answer beyond `LONGEST_ANSWER`; None for all others."""
    if len(answer) <= LONGEST_ANSWER:
        return None
    return verdict(False, f"the answer has {len(answer)} characters, over {LONGEST_ANSWER}")
