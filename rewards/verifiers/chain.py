"""Reward chains from references (RLVRR, paper 19): ordered key content, and checks of style."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agentrl.core import Check, SandboxProvider, Score
from agentrl.rewards.verifiers.base import Item, too_long, verdict
from agentrl.rewards.verifiers.code import run_python


@dataclass(slots=True)
class KeywordChain:
    """How much of the reference's key content the answer has, in its order.

    Reference: {"points": [[keyword, ...], ...], "texts": [reference text, ...]}. For each of M
    points, K is the ordered list (with repeats) of case-insensitive whole-word hits of its
    keywords in a text, and

        r_c = (1/M) sum_m max_ref LCS(K_answer, K_ref) / max(|K_answer|, |K_ref|)

    0 for a point that neither text hits. A text against itself is 1 when every point is hit.
    """

    name: str = "keyword_chain"

    async def verify(self, item: Item) -> Score:
        if (long := too_long(item.answer)) is not None:
            return long
        points, texts = item.reference["points"], item.reference["texts"]
        checks = []
        for number, keywords in enumerate(points):
            given = hits(item.answer, keywords)
            best = max((chain_share(given, hits(t, keywords)) for t in texts), default=0.0)
            checks.append(Check(f"point/{number}", best, evidence=", ".join(given)[:200]))
        if not checks:
            return Score(abstained=True, evidence="the reference has no key points")
        return Score(sum(c.value for c in checks) / len(checks), checks)


def hits(text: str, keywords: Sequence[str]) -> list[str]:
    """The keywords in the order they stand in a text, repeats kept, lower case."""
    if not keywords:
        return []
    longest_first = sorted((k.lower() for k in keywords), key=len, reverse=True)
    pattern = "|".join(re.escape(k) for k in longest_first)
    return re.findall(rf"(?<!\w)(?:{pattern})(?!\w)", text.lower())


def chain_share(a: Sequence[str], b: Sequence[str]) -> float:
    """Longest common subsequence over the longer length; 0 for two empty chains."""
    return lcs(a, b) / max(len(a), len(b)) if a or b else 0.0


def lcs(a: Sequence[Any], b: Sequence[Any]) -> int:
    """Length of the longest common subsequence, O(len(a) len(b))."""
    row = [0] * (len(b) + 1)
    for x in a:
        before = 0
        for j, y in enumerate(b):
            before, row[j + 1] = row[j + 1], before + 1 if x == y else max(row[j + 1], row[j])
    return row[-1]


@dataclass(slots=True)
class CodeChecks:
    """r_s = sum_n w_n [check_n(answer)], checks being Python that a model wrote.

    Reference: {"checks": [{"source": "def check(text): ...", "weight": w}, ...]}. Each runs in a
    sandbox with a deadline; one that raises or hangs counts as failed. Weights are divided by
    their sum.
    """

    sandboxes: SandboxProvider
    seconds: float = 5.0
    name: str = "code_checks"

    async def verify(self, item: Item) -> Score:
        if (long := too_long(item.answer)) is not None:
            return long
        given = item.reference["checks"]
        total = sum(float(c.get("weight", 1.0)) for c in given)
        if total <= 0:
            return Score(abstained=True, evidence="the reference has no checks")
        checks = []
        for number, check in enumerate(given):
            source = f"{check['source']}\n\ndef main(text):\n    return bool(check(text))\n"
            found, why = await run_python(self.sandboxes, source, item.answer, self.seconds)
            weight = float(check.get("weight", 1.0)) / total
            passed = found is True
            checks.append(Check(f"style/{number}", float(passed), passed, why, "positive", weight))
        return verdict_of(checks)


def verdict_of(checks: list[Check]) -> Score:
    """The weighted share of checks that passed."""
    score = verdict(sum(c.weight * c.value for c in checks))
    score.checks = checks
    return score


def length_penalty(length: int, reference: int, low: float = 0.9, high: float = 1.2) -> float:
    """|ratio - 1| outside the free band of length ratios, 0 inside (in the released code, with
    weight 0)."""
    ratio = length / reference if reference else 0.0
    return 0.0 if low <= ratio <= high else abs(ratio - 1.0)
