"""Verifiers made of verifiers: a second opinion, a guard in front, a checklist behind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from agentrl.core import Check, Score
from agentrl.rewards.verifiers.base import Item, Verifier
from agentrl.rewards.verifiers.numbers import plain_number

AskIf = Literal["wrong", "not_numbers", "abstained"]


@dataclass(slots=True)
class OrElse:
    """A rule first, then something dearer; right when either accepts (paper 61).

    The second is asked when the first does not accept, the answer is not empty, and

        "wrong"        always then
        "not_numbers"  answer and reference are not both plain numbers (61's hybrid: a rule
                       is not wrong about two numbers)
        "abstained"    only when the first could not tell

    Recall is never below the first one's. The second one's false positives become its own: see
    `attack`.
    """

    first: Verifier
    second: Verifier
    ask_if: AskIf = "not_numbers"
    name: str = "or_else"

    async def verify(self, item: Item) -> Score:
        found = await self.first.verify(item)
        said = Check(self.first.name, found.value, _passed(found), found.evidence)
        if not self._asks(item, found):
            found.checks = [*found.checks, said]
            return found
        second = await self.second.verify(item)
        asked = Check(self.second.name, second.value, _passed(second), second.evidence)
        if second.abstained and not found.abstained:
            # The dear one is silent: the rule's word stands.
            found.checks = [*found.checks, said, asked]
            found.cost += second.cost
            return found
        second.checks = [*second.checks, said, asked]
        if not found.abstained:
            second.value = max(second.value, found.value)
        second.cost += found.cost
        return second

    def _asks(self, item: Item, found: Score) -> bool:
        if not item.answer.strip() or (found.value >= 0.5 and not found.abstained):
            return False
        if self.ask_if == "abstained":
            return found.abstained
        numbers = [plain_number(str(x)) for x in (item.answer, item.reference)]
        return self.ask_if == "wrong" or None in numbers


@dataclass(slots=True)
class Guard:
    """Refuse what no right answer looks like before a verifier that can be fooled sees it.

    An answer that is empty, over `longest` characters, or in which fewer than `letters` of the
    visible characters are letters or digits ("{", ",", "!!!") is wrong, unless it equals the
    reference.
    """

    verifier: Verifier
    longest: int = 4_000
    letters: float = 0.2
    name: str = "guard"

    async def verify(self, item: Item) -> Score:
        why = self._refuses(item.answer.strip(), str(item.reference).strip())
        return Score(0.0, evidence=why) if why else await self.verifier.verify(item)

    def _refuses(self, answer: str, reference: str) -> str:
        if answer == reference and answer:
            return ""
        if not answer:
            return "empty"
        if len(answer) > self.longest:
            return f"{len(answer)} characters, over {self.longest}"
        visible = [c for c in answer if not c.isspace()]
        share = sum(c.isalnum() for c in visible) / len(visible)
        return "" if share >= self.letters else f"only {share:.0%} letters and digits"


@dataclass(slots=True)
class AllOf:
    """Right when every verifier says so: the smallest value; abstains when one does."""

    verifiers: list[Verifier]
    name: str = "all_of"

    async def verify(self, item: Item) -> Score:
        return await _combined(self.verifiers, item, min)


@dataclass(slots=True)
class Mean:
    """The weighted mean of verifiers (weights 1 when not given); abstains when one does."""

    verifiers: list[Verifier]
    weights: list[float] | None = None
    name: str = "mean"

    async def verify(self, item: Item) -> Score:
        weights = self.weights or [1.0] * len(self.verifiers)

        def mean(values: Sequence[float]) -> float:
            pairs = zip(weights, values, strict=True)
            return sum(w * v for w, v in pairs) / sum(weights)

        return await _combined(self.verifiers, item, mean)


async def _combined(
    verifiers: Sequence[Verifier], item: Item, combine: Callable[[Sequence[float]], float]
) -> Score:
    scores = [await v.verify(item) for v in verifiers]
    checks = [
        Check(v.name, s.value, _passed(s), s.evidence)
        for v, s in zip(verifiers, scores, strict=True)
    ]
    cost = sum(s.cost for s in scores)
    silent = [c.name for c, s in zip(checks, scores, strict=True) if s.abstained]
    if silent:
        return Score(checks=checks, abstained=True, evidence=f"abstained: {silent}", cost=cost)
    return Score(combine([s.value for s in scores]), checks, cost=cost)


def _passed(score: Score) -> bool | None:
    return None if score.abstained else score.value >= 0.5


def checklist(checks: Sequence[Check], *, gate: bool = True, threshold: float = 0.0) -> Score:
    """A rubric's score from its checks (MedVLSynther, paper 11; also 16, 19, 37).

    Essential and positive items of weight w > 0 add clip(value, 0, w) of w; plain ones do not
    count; a pitfall only takes away, |value| when its value is negative:

        value = clip((sum clip(value, 0, w) - sum |pitfall|) / sum w, 0, 1)

    With `gate` the value is 0 unless every essential item has its full weight, and unless the
    rest reaches `threshold`. Abstains when no item has a weight.
    """
    counted = [c for c in checks if c.kind in ("essential", "positive") and c.weight > 0]
    total = sum(c.weight for c in counted)
    if total == 0:
        return Score(checks=list(checks), abstained=True, evidence="no item has a weight")
    earned = sum(min(max(c.value, 0.0), c.weight) for c in counted)
    lost = sum(-c.value for c in checks if c.kind == "pitfall" and c.value < 0)
    value = min(max((earned - lost) / total, 0.0), 1.0)
    said = f"{earned:g} - {lost:g} of {total:g}"
    open_items = [c.name for c in counted if c.kind == "essential" and c.value < c.weight]
    if gate and open_items:
        return Score(0.0, list(checks), evidence=f"{said}; essential: {', '.join(open_items)}")
    if gate and value < threshold:
        return Score(0.0, list(checks), evidence=f"{said}: below {threshold:g}")
    return Score(value, list(checks), evidence=said)
