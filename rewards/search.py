"""Rewards of agents that search: labels, answers, and the evidence that is cited for them.

They read the outcome's `answer`, `label`, `cited` (ids in the order named) and `format`, and the
reference's `answers`, `label` and `evidence` (ids).
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from agentrl.core import Check, Episode, Score
from agentrl.rewards.verifiers.base import Item, Verifier
from agentrl.rewards.verifiers.text import ExactMatch, f_beta

NO_INFO = "NOT ENOUGH INFO"


@dataclass(slots=True, frozen=True)
class ClaimParts:
    """The parts of a claim's verdict: label right, evidence overlap (IoU), validity, format."""

    label: bool
    evidence: float
    validity: float
    form: bool


def claim_parts(
    label_right: bool, cited: Iterable[str], gold: Iterable[str], form: bool
) -> ClaimParts:
    """With P cited and T gold: evidence |P & T| / |P | T| (0 without T); validity 1 if T is in P,
    1/2 if at least half of T is, rounded up, else 0. Ids are compared after NFC normalisation."""
    p, t = _ids(cited), _ids(gold)
    shared = len(p & t)
    evidence = shared / len(p | t) if t else 0.0
    validity = 1.0 if t <= p else 0.5 if shared >= math.ceil(len(t) / 2) else 0.0
    return ClaimParts(label_right, evidence, validity, form)


def _ids(names: Iterable[str]) -> set[str]:
    return {unicodedata.normalize("NFC", str(name)) for name in names}


@dataclass(slots=True)
class ClaimReward:
    """Claim verification (Veri-R1, paper 71): `2 w l + e + f`, at most 4.

    l: the label is right; w: validity of the evidence; e: its overlap; f: the format. A claim
    without enough information has no evidence to name: `2 l + e + f` with e = 0, at most 3.

    Attributes:
        label_only: `2 l + f`, the paper's ablation.
    """

    label_only: bool = False
    name: str = "claim"

    async def score(self, episode: Episode) -> Score:
        reference, outcome = episode.task.reference, episode.outcome
        if "label" not in reference or "label" not in outcome:
            return _silent("label")
        right = outcome["label"] == reference["label"]
        gold = reference.get("evidence", [])
        parts = claim_parts(right, outcome["cited"], gold, bool(outcome["format"]))
        weight = 1.0 if reference["label"] == NO_INFO or self.label_only else parts.validity
        value = 2 * weight * parts.label + parts.form
        checks = [
            Check("label", float(parts.label), parts.label),
            Check("evidence", parts.evidence),
            Check("validity", parts.validity),
            Check("format", float(parts.form), parts.form),
        ]
        return Score(value if self.label_only else value + parts.evidence, checks)


@dataclass(slots=True)
class ContextReward:
    """Answer and context (LongRLVR, paper 52): `a + eta F + (1 - eta) a F`, at most 2.

    F is the F-beta of the cited ids against the evidence, where precision divides by how many were
    listed, repetitions too: a list of everything is not worth more for being long. A wrong format
    is worth nothing.

    Attributes:
        answer: judges the answer, a in [0, 1]; abstains with it.
        recall_only, answer_only: the ablations.
    """

    beta: float = 2.0
    eta: float = 0.1
    recall_only: bool = False
    answer_only: bool = False
    answer: Verifier = field(default_factory=ExactMatch)
    name: str = "context"

    async def score(self, episode: Episode) -> Score:
        gold = episode.task.reference.get("evidence")
        if (
            gold is None
            or "answers" not in episode.task.reference
            or "cited" not in episode.outcome
        ):
            return _silent("evidence")
        item = Item(
            episode.task.prompt, episode.outcome["answer"], episode.task.reference["answers"]
        )
        judged = await self.answer.verify(item)
        if judged.abstained:
            return judged
        if not episode.outcome["format"]:
            return Score(0.0, evidence="wrong format")
        cited = episode.outcome["cited"]
        precision, recall = context(cited, gold)
        right = round(recall * len(_ids(gold)))
        whole = f_beta(right, len(cited), len(_ids(gold)), self.beta)
        overlap = recall if self.recall_only else whole
        a = judged.value
        checks = [Check("answer", a), Check("precision", precision), Check("recall", recall)]
        if self.answer_only:
            return Score(a, checks)
        return Score(a + self.eta * overlap + (1 - self.eta) * a * overlap, checks)


def context(cited: Sequence[str], gold: Iterable[str]) -> tuple[float, float]:
    """(precision, recall) of cited ids; precision over the listed ones, repetitions included."""
    wanted = _ids(gold)
    shared = len(_ids(cited) & wanted)
    return (shared / len(cited) if cited else 0.0, shared / len(wanted) if wanted else 0.0)


def claim_metrics(episodes: Sequence[Episode]) -> dict[str, float]:
    """Label accuracy, verified accuracy (valid evidence too), joint accuracy (exactly the gold
    evidence too) and mean evidence overlap; for claims without information, the label decides."""
    rows: list[tuple[float, float, float, float]] = []
    for episode in episodes:
        reference, outcome = episode.task.reference, episode.outcome
        if "label" not in outcome:
            continue
        right = outcome["label"] == reference["label"]
        gold = reference.get("evidence", [])
        parts = claim_parts(right, outcome["cited"], gold, bool(outcome["format"]))
        free = reference["label"] == NO_INFO
        exact = _ids(outcome["cited"]) == _ids(gold)
        rows.append(
            (
                right,
                right and (free or parts.validity == 1),
                right and (free or exact),
                parts.evidence,
            )
        )
    names = ("label_accuracy", "verified_accuracy", "joint_accuracy", "evidence")
    means = [sum(column) / len(rows) for column in zip(*rows, strict=True)] if rows else [0.0] * 4
    return dict(zip(names, means, strict=True))


def _silent(key: str) -> Score:
    return Score(abstained=True, evidence=f"neither task nor environment says {key!r}")
