r"""Mathematical answers: equal as numbers, expressions, sets or intervals."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from agentrl.core import Score
from agentrl.rewards.verifiers.base import Item, verdict
from agentrl.rewards.verifiers.extract import boxed
from agentrl.rewards.verifiers.numbers import plain_number
from agentrl.rewards.verifiers.text import references
from agentrl.rewards.verifiers.worker import Workers

_LONGEST = 500
"""Characters of a final answer; a longer one is no answer to a question of mathematics."""


@dataclass(slots=True)
class Math:
    r"""1 when the answer is mathematically the reference (math-verify over sympy), else 0.

    LaTeX or plain text, with or without \boxed{}. The answer must be one expression: text with
    several boxes or alternatives is wrong, so listing guesses never pays. What takes over
    `seconds` (in a process of its own, which is then ended) is wrong. A reference that cannot be
    read abstains.

    Attributes:
        digits: significant decimal places of a comparison of floats.
    """

    seconds: float = 5.0
    digits: int = 6
    name: str = "math"
    _workers: Workers = field(init=False, repr=False, default_factory=Workers)

    async def verify(self, item: Item) -> Score:
        answer = item.answer.strip()
        if not answer or len(answer) > _LONGEST:
            return verdict(False, f"an answer of {len(answer)} characters")
        score = Score(abstained=True, evidence="there is no reference")
        for reference in references(item.reference):
            score = await self._compare(answer, reference)
            if score.value:
                return score
        return score

    async def _compare(self, answer: str, reference: str) -> Score:
        if answer == reference.strip():
            return verdict(True, "written as the reference")
        a, b = plain_number(answer), plain_number(reference)
        if a is not None and b is not None:
            return verdict(abs(a - b) <= 10.0**-self.digits * abs(b), f"{a:g} against {b:g}")
        try:
            found = await self._workers.call(
                f"{__name__}:equal",
                self.seconds,
                answer=answer,
                reference=reference,
                digits=self.digits,
            )
        except (TimeoutError, RuntimeError) as error:
            return verdict(False, f"cannot be compared: {error}")
        if found is None:
            return Score(abstained=True, evidence=f"the reference {reference!r} cannot be read")
        return verdict(found, f"{answer!r} {'equals' if found else 'does not equal'} {reference!r}")


def ready() -> None:
    """Import and compare once in a worker, before the first deadline runs."""
    equal("1/2", "0.5", 6)


def equal(answer: str, reference: str, digits: int) -> bool | None:
    """Whether two texts mean the same; None when the reference has no meaning. Runs in a Worker:
    it may take forever."""
    from math_verify import parse, verify

    gold = _read(reference, parse)
    if not gold or all(isinstance(reading, str) for reading in gold):
        return None
    if _ambiguous(answer, reference):
        return False
    given = _read(answer, parse)
    return bool(given) and bool(verify(gold, given, float_rounding=digits, timeout_seconds=None))


def _read(text: str, parse: object) -> list[object]:
    """math-verify's reading of a whole text as one expression, [] when it is none."""
    from math_verify import ExprExtractionConfig, LatexExtractionConfig

    assert callable(parse)
    bare = (boxed(text) or "") if "\\boxed" in text else text.strip().strip("$").strip()
    if not bare:
        return []
    kinds = [LatexExtractionConfig(), ExprExtractionConfig()]
    return list(
        parse(
            f"$\\boxed{{{bare}}}$",
            extraction_config=kinds,
            parsing_timeout=None,
            raise_on_error=False,
        )
    )


def _ambiguous(answer: str, reference: str) -> bool:
    """More than one claim: several boxes, words such as "or" that the reference has not, or an
    equation that is more than a name for the value (`x = 4` is one claim, `1 = 4` is not)."""
    words = [" or ", "\\text{or}", "\\lor", "\\vee", ";", "\n"]
    if answer.count("\\boxed") > 1 or any(w in answer and w not in reference for w in words):
        return True
    left, equals, right = (boxed(answer) or answer).partition("=")
    if not equals or "=" in reference:
        return False
    named = re.fullmatch(r"\$?\s*[A-Za-z](_\{?\w+\}?)?(\([A-Za-z]\))?\s*", left)
    return named is None or "=" in right
