"""From sentences to first-order logic, judged by what a formula means (LogicLLaMA, paper 14).

    forall x (Dog(x) -> exists y (Likes(y, x) and not Cat(y)))

The verifier `agentrl.rewards.verifiers.logic` reads and compares formulas; here are the sentences,
the mistakes to learn from, and the token overlap that the paper mixes in.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from math import exp, log
from typing import Any

from agentrl.core import Check, ConfigError, Episode, Score, Task, derive_seed
from agentrl.environments.answers import AnswerEnvironment, after_thinking, ungraded
from agentrl.rewards.verifiers.base import Item
from agentrl.rewards.verifiers.extract import answer_in
from agentrl.rewards.verifiers.logic import Formula, LogicEquivalence, parse_formula

_TOKENS = re.compile(r"<->|->|\w+|[^\w\s]")
SIGNS = {"and": "and", "or": "or", "xor": "xor", "implies": "->", "iff": "<->"}
QUANTIFIERS = {"all": "forall", "some": "exists"}


def show(f: Formula) -> str:
    """A formula as text that is read back as the same formula."""
    if f.op == "atom":
        name, *terms = f.parts
        return f"{name}({', '.join(terms)})" if terms else str(name)
    if f.op == "not":
        return f"not {show(f.parts[0])}"
    if f.op in QUANTIFIERS:
        return f"{QUANTIFIERS[f.op]} {f.parts[0]} {show(f.parts[1])}"
    return f"({f' {SIGNS[f.op]} '.join(map(show, f.parts))})"


def parsed(text: str) -> Formula:
    """The formula of a text. Raises ConfigError when it is none: for data, not for answers."""
    found = parse_formula(text)
    if found is None:
        raise ConfigError(f"not a formula: {text!r}")
    return found


def bleu(predicted: str, reference: str) -> float:
    """BLEU over formula tokens, of order at most 4 and at most the shorter length."""
    guess, gold = _TOKENS.findall(predicted), _TOKENS.findall(reference)
    order = min(4, len(guess), len(gold))
    if order == 0:
        return 0.0
    logs = 0.0
    for n in range(1, order + 1):
        mine, theirs = _ngrams(guess, n), _ngrams(gold, n)
        shared = sum((mine & theirs).values())
        if shared == 0:
            return 0.0
        logs += log(shared / sum(mine.values())) / order
    return exp(min(0.0, 1 - len(gold) / len(guess)) + logs)


def _ngrams(tokens: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))


def perturb(formula: str, edits: int, *, seed: int = 0) -> tuple[str, list[str]]:
    """A formula with `edits` mistakes, and the steps that correct it, last mistake first.

    Mistakes swap a connective, a quantifier, or a negation: data for learning to correct.
    """
    rng = random.Random(derive_seed(seed, "perturb", formula))
    node = parsed(formula)
    steps: list[str] = []
    for _ in range(edits):
        path, found = rng.choice(list(_places(node)))
        new = _mistaken(found, rng)
        steps.insert(0, f"replace {show(new)} by {show(found)}")
        node = _replaced(node, path, new)
    return show(node), steps


def _places(f: Formula, path: tuple[int, ...] = ()) -> Iterator[tuple[tuple[int, ...], Formula]]:
    yield path, f
    for i, part in enumerate(f.parts):
        if isinstance(part, Formula):
            yield from _places(part, (*path, i))


def _mistaken(f: Formula, rng: random.Random) -> Formula:
    if f.op == "not":
        inner: Formula = f.parts[0]
        return inner
    if f.op == "atom":
        return Formula("not", (f,))
    if f.op in QUANTIFIERS:
        return Formula("some" if f.op == "all" else "all", f.parts)
    # An implication has two parts, so that a longer chain stays one of what can be one.
    others = [op for op in SIGNS if op != f.op and (op != "implies" or len(f.parts) == 2)]
    return Formula(rng.choice(others), f.parts)


def _replaced(f: Formula, path: tuple[int, ...], new: Formula) -> Formula:
    if not path:
        return new
    parts = list(f.parts)
    parts[path[0]] = _replaced(parts[path[0]], path[1:], new)
    return Formula(f.op, tuple(parts))


_PEOPLE = ("dog", "cat", "bird", "fish")
_TRAITS = ("small", "loud", "happy", "old")


def make_tasks(count: int, *, seed: int = 0, traits: int = 2) -> Iterator[Task]:
    """Sentences of the kinds "Every A that is B is C" with their formulas.

    Args:
        traits: conditions in a sentence, 1 to 4.
    """
    for i in range(count):
        rng = random.Random(derive_seed(seed, "logic", i))
        who, words = rng.choice(_PEOPLE), rng.sample(_TRAITS, traits)
        every, last = rng.random() < 0.5, words[-1]
        negated = rng.random() < 0.3
        kind = [who, *words[:-1]]
        matrix = " and ".join(f"{word.capitalize()}(x)" for word in kind)
        end = ("not " if negated else "") + f"{last.capitalize()}(x)"
        that = f" that is {' and '.join(words[:-1])}" if traits > 1 else ""
        text = f"{'Every' if every else 'Some'} {who}{that} is {'not ' if negated else ''}{last}."
        formula = f"forall x (({matrix}) -> {end})" if every else f"exists x ({matrix} and {end})"
        yield Task(
            f"logic-{seed}-{i}",
            f"Write as a formula of first-order logic: {text}",
            environment="logic",
            reference={"formula": formula},
            metadata={"traits": traits},
        )


@cache
def _verifier(seconds: float) -> LogicEquivalence:
    """One for all episodes: it keeps a process in which z3 runs."""
    return LogicEquivalence(seconds=seconds)


class LogicEnvironment(AnswerEnvironment):
    """A sentence to translate; the last line of the answer is the formula.

    Args:
        seconds: that a proof may take, with the start of the process it runs in.
    """

    def __init__(self, *, seconds: float = 10.0) -> None:
        self._verifier = _verifier(seconds)

    async def grade(self, answer: str) -> dict[str, Any]:
        """{"formula", "similarity": LE, "bleu", "equivalent": proved}."""
        formula = answer_in(after_thinking(answer), "line") or ""
        gold = self.task.reference["formula"]
        judged = await self._verifier.verify(Item("", formula, gold))
        checks = {check.name: check.value for check in judged.checks}
        guess = parse_formula(formula)
        return {
            "formula": formula,
            "similarity": checks.get("LE", 0.0),
            "bleu": bleu(show(guess), show(parsed(gold))) if guess else 0.0,
            "equivalent": judged.value == 1.0,
        }


@dataclass(slots=True)
class FormulaReward:
    """`weight` * LE + (1 - weight) * BLEU; 0 when unreadable.

    Attributes:
        strict: 1 when z3 proves the formulas equivalent, else 0.
    """

    weight: float = 0.7
    strict: bool = False
    name: str = "formula"

    async def score(self, episode: Episode) -> Score:
        outcome = episode.outcome
        if "similarity" not in outcome:
            return ungraded("similarity")
        checks = [
            Check("similarity", outcome["similarity"]),
            Check("bleu", outcome["bleu"]),
            Check("equivalent", float(outcome["equivalent"]), outcome["equivalent"]),
        ]
        if self.strict:
            return Score(float(outcome["equivalent"]), checks, evidence="z3")
        mixed = self.weight * outcome["similarity"] + (1 - self.weight) * outcome["bleu"]
        return Score(mixed, checks)
