"""Paper 14, LogicLLaMA: judging formulas by what they mean.

Rewritten formulas (contraposition, other variable) keep full marks where BLEU drops; formulas with
planted mistakes lose them, more with every mistake; z3 confirms which are equivalent.
"""

from __future__ import annotations

from collections.abc import Sequence

from agentrl.core import derive_seed
from agentrl.environments.logic import bleu, make_tasks, parsed, perturb
from agentrl.papers.registry import Measured
from agentrl.rewards.verifiers.logic import equivalent, truth_share

CLAIM = (
    "LE and z3 give a formula in other words full marks although BLEU falls, and take them away "
    "from formulas with a planted mistake."
)
FORMULAS = 15


def run(seeds: Sequence[int]) -> Measured:
    rows: list[list[str | int | float]] = []
    passed = similarity("forall x (P(x)->Q(x))", "forall x (P(x) and Q(x))") == 0.5
    for seed in seeds:
        tasks = list(make_tasks(FORMULAS, seed=seed, traits=3))
        gold = [task.reference["formula"] for task in tasks]
        other = [_in_other_words(formula) for formula in gold]
        wrong = [perturb(f, 1, seed=derive_seed(seed, i))[0] for i, f in enumerate(gold)]
        unlike = [(w, g) for w, g in zip(wrong, gold, strict=True) if not _same(w, g)]
        kept = [similarity(o, g) for o, g in zip(other, gold, strict=True)]
        proved = [_same(o, g) for o, g in zip(other, gold, strict=True)]
        words = [bleu(o, g) for o, g in zip(other, gold, strict=True)]
        lost = [similarity(w, g) for w, g in unlike]
        rows.append([seed, _mean(kept), _mean(proved), _mean(words), len(unlike), _mean(lost)])
        passed &= min(kept) == 1.0 and all(proved) and _mean(words) < 0.7
        # A wrong quantifier leaves the matrix as it is: that LE does not see, and z3 does.
        passed &= len(unlike) >= 0.8 * FORMULAS and _mean(lost) < 0.9
    columns = ["seed", "LE reworded", "z3 agrees", "BLEU reworded", "unlike", "LE of those"]
    return Measured(passed, columns, rows)


def similarity(a: str, b: str) -> float:
    """LE of two texts."""
    return truth_share(parsed(a), parsed(b))


def _same(a: str, b: str) -> bool:
    return equivalent(parsed(a), parsed(b))


def _in_other_words(formula: str) -> str:
    """Another variable, and the contraposition of an implication."""
    formula = formula.replace("(x)", "(y)").replace(" x ", " y ")
    if " -> " not in formula:
        quantifier, body = formula.split(" y ", 1)
        return f"{quantifier} y not not {body}"
    head, tail = formula.removeprefix("forall y (").removesuffix(")").split(" -> ")
    return f"forall y (not {tail} -> not {head})"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / max(1, len(values))
