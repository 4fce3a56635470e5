"""Paper 14, LogicLLaMA: is a formula equivalent to the reference?"""

from __future__ import annotations

from collections.abc import Sequence

from agentrl.papers.registry import Measured
from agentrl.papers.toys import table, wait
from agentrl.rewards.verifiers import Item, LogicEquivalence
from agentrl.rewards.verifiers.logic import parse_formula, truth_share

CLAIM = (
    "LE of P -> Q against P and Q is 0.5, renamed predicates are 1.0, an unreadable formula 0; z3 "
    "proves what truth tables cannot see: quantifiers."
)
VERIFIER = LogicEquivalence(partial=0.0, seconds=20.0)


def _share(a: str, b: str) -> float:
    first, second = parse_formula(a), parse_formula(b)
    return truth_share(first, second) if first and second else 0.0


def _proven(a: str, b: str) -> float:
    return wait(VERIFIER.verify(Item("", a, b))).value


def run(seeds: Sequence[int]) -> Measured:
    implies, both = "forall x (P(x) -> Q(x))", "forall x (P(x) and Q(x))"
    return table(
        [
            ("P -> Q against P and Q", 0.5, _share(implies, both)),
            ("the other way round", 0.5, _share(both, implies)),
            ("other predicate names", 1.0, _share("forall x (A(x) -> B(x))", implies)),
            ("unreadable", 0.0, _share("P(x", implies)),
            ("De Morgan, proven", 1.0, _proven("~exists x P(x)", "forall x ~P(x)")),
            ("contraposition, proven", 1.0, _proven("forall x (~Q(x) -> ~P(x))", implies)),
            ("another quantifier", 0.0, _proven("exists x (P(x) -> Q(x))", implies)),
            ("though its table is equal", 1.0, _share("exists x (P(x) -> Q(x))", implies)),
        ]
    )
