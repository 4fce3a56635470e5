"""How good is a verifier: confusion, kappa, intervals, speed and cost (VerifyBench, paper 70)."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from agentrl.core import Score, TaskFileError
from agentrl.core.interval import Interval, wilson
from agentrl.rewards.verifiers.base import Item, Verifier

Form = Literal["extracted", "full"]
Mode = Literal["conservative", "coverage"]


@dataclass(slots=True)
class Labelled:
    """An answer with the verdict of people; `form` is the final answer or the response."""

    item: Item
    correct: bool
    domain: str = ""
    form: Form = "extracted"


@dataclass(slots=True)
class Confusion:
    """Counts of verdicts against labels; abstentions apart."""

    tp: int = 0
    fp: int = 0
    fn: int = 0
    tn: int = 0
    abstained: int = 0

    def add(self, label: bool, accepts: bool | None, mode: Mode) -> None:
        """An abstention is counted, and in conservative mode it is a rejection besides."""
        if accepts is None:
            self.abstained += 1
            if mode == "coverage":
                return
            accepts = False
        if label:
            self.tp += accepts
            self.fn += not accepts
        else:
            self.fp += accepts
            self.tn += not accepts

    @property
    def total(self) -> int:
        return self.tp + self.fp + self.fn + self.tn

    @property
    def accuracy(self) -> float:
        return _share(self.tp + self.tn, self.total)

    @property
    def precision(self) -> float:
        return _share(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float:
        return _share(self.tp, self.tp + self.fn)

    @property
    def f1(self) -> float:
        return _share(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def kappa(self) -> float:
        """Cohen's kappa: agreement beyond chance; NaN when chance explains all."""
        n = self.total
        if n == 0:
            return math.nan
        yes = (self.tp + self.fp) * (self.tp + self.fn)
        no = (self.tn + self.fn) * (self.tn + self.fp)
        chance = (yes + no) / n**2
        return (self.accuracy - chance) / (1 - chance) if chance < 1 else math.nan

    @property
    def interval(self) -> Interval:
        """Wilson's 95% interval of the accuracy."""
        return wilson(self.tp + self.tn, self.total)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


@dataclass(slots=True)
class Report:
    """A verifier on a benchmark.

    Attributes:
        by_domain, by_form: confusions of parts. macro: mean of the domains' accuracies.
        form_sensitivity: |accuracy on extracted answers - on full responses|; NaN without both.
        seconds: per item; cost: US dollars of all.
        wrong: items judged otherwise than labelled.
    """

    verifier: str
    whole: Confusion
    by_domain: dict[str, Confusion]
    by_form: dict[str, Confusion]
    seconds: float
    cost: float
    wrong: list[tuple[Labelled, Score]] = field(default_factory=list)

    @property
    def macro(self) -> float:
        rates = [c.accuracy for c in self.by_domain.values() if c.total]
        return sum(rates) / len(rates) if rates else math.nan

    @property
    def form_sensitivity(self) -> float:
        if not {"extracted", "full"} <= self.by_form.keys():
            return math.nan
        return abs(self.by_form["extracted"].accuracy - self.by_form["full"].accuracy)

    def table(self) -> str:
        """As Markdown."""
        head = "| part | n | accuracy | 95% | precision | recall | F1 | kappa | abstained |"
        lines = [head, "|" + " --- |" * 9]
        parts = [
            ("all", self.whole),
            *sorted(self.by_domain.items()),
            *sorted(self.by_form.items()),
        ]
        for name, c in parts:
            low, high = c.interval.low, c.interval.high
            numbers = (c.precision, c.recall, c.f1, c.kappa)
            shown = " | ".join(f"{x:.3f}" for x in numbers)
            lines.append(
                f"| {name} | {c.total} | {c.accuracy:.3f} | {low:.3f}-{high:.3f}"
                f" | {shown} |"
                f" {c.abstained} |"
            )
        lines.append(
            f"\n{1000 * self.seconds:.2f} ms and ${self.cost:.4f} in all; macro {self.macro:.3f}"
        )
        return "\n".join(lines)


async def benchmark(
    verifier: Verifier,
    items: Sequence[Labelled],
    *,
    mode: Mode = "conservative",
    accept: float = 0.5,
    parallel: int = 16,
) -> Report:
    """Judge labelled items with a verifier; values from `accept` on are acceptances."""
    slots = asyncio.Semaphore(parallel)

    async def one(item: Item) -> Score:
        async with slots:
            return await verifier.verify(item)

    started = time.perf_counter()
    scores = await asyncio.gather(*(one(i.item) for i in items))
    seconds = (time.perf_counter() - started) / max(len(items), 1)
    report = Report(verifier.name, Confusion(), {}, {}, seconds, sum(s.cost for s in scores))
    for labelled, score in zip(items, scores, strict=True):
        accepts = None if score.abstained else score.value >= accept
        parts = [report.whole, report.by_form.setdefault(labelled.form, Confusion())]
        if labelled.domain:
            parts.append(report.by_domain.setdefault(labelled.domain, Confusion()))
        for part in parts:
            part.add(labelled.correct, accepts, mode)
        if accepts is not labelled.correct:
            report.wrong.append((labelled, score))
    return report


def read_labelled(path: str | Path) -> list[Labelled]:
    """Items of a JSON Lines file: question, answer, reference, correct, and domain and form if any.

    Raises TaskFileError with the line that cannot be read.
    """
    found = []
    for number, line in enumerate(Path(path).read_text("utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            data: Mapping[str, Any] = json.loads(line)
            item = Item(str(data.get("question", "")), str(data["answer"]), data["reference"])
            domain, form = str(data.get("domain", "")), data.get("form", "extracted")
            found.append(Labelled(item, bool(data["correct"]), domain, form))
        except (ValueError, KeyError, TypeError) as error:
            raise TaskFileError(
                f"not a labelled item: {type(error).__name__} {error}",
                where=f"{path}, line {number}",
                fix='{"question": .., "answer": .., "reference": .., "correct": true}',
            ) from error
    return found
