"""From sentences to first-order logic, judged by what a formula means (LogicLLaMA, paper 14).

    forall x (Dog(x) -> exists y (Likes(y, x) and not Cat(y)))

Also written with the signs ∀ ∃ ¬ ∧ ∨ ⊕ → ↔. Two judges: `equivalent` asks z3 about the quantified
formulas; `similarity` is the paper's LE score, the share of truth-table rows on which the
quantifier-free matrices agree under the best pairing of their literals.
"""

from __future__ import annotations

import itertools
import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cache
from math import exp, log
from typing import Any

from agentrl.core import Check, Episode, Score, Task, derive_seed
from agentrl.environments.answers import AnswerEnvironment, after_thinking, ungraded

_GRAMMAR = r"""
    ?start: iff
    ?iff: implies | iff _IFF implies -> iff
    ?implies: xor | xor _IMPLIES implies -> implies
    ?xor: or | xor _XOR or -> xor
    ?or: and | or _OR and -> or_
    ?and: unary | and _AND unary -> and_
    ?unary: _NOT unary -> not_ | FORALL NAME unary -> quantified | EXISTS NAME unary -> quantified
          | "(" iff ")" | atom
    atom: NAME ["(" term ("," term)* ")"]
    term: NAME ["(" term ("," term)* ")"]
    _IFF: "<->" | "↔" | "<=>" | /iff\b/
    _IMPLIES: "->" | "→" | "=>" | /implies\b/
    _XOR: "⊕" | /xor\b/
    _OR: "∨" | "|" | /or\b/
    _AND: "∧" | "&" | /and\b/
    _NOT: "¬" | "~" | /not\b/
    FORALL.2: "∀" | /forall\b/
    EXISTS.2: "∃" | /exists\b/
    NAME: /(?!(?:and|or|not|xor|iff|implies|forall|exists)\b)[^\W_]\w*/
    %import common.WS
    %ignore WS
"""
_LONGEST, _DEEPEST = 4000, 60
_BINDINGS, _MOST_LITERALS = 1000, 12
_TOKENS = re.compile(r"<->|->|\w+|[^\w\s]")
CONNECTIVES = {"and_": "and", "or_": "or", "xor": "xor", "implies": "->", "iff": "<->"}


class BadFormula(ValueError):
    """A text that is no formula; the message says where it stops being one."""


@dataclass(slots=True, frozen=True)
class Node:
    """A formula: `kind` is "atom", "not", a quantifier ("forall", "exists") or a connective.

    Attributes:
        name: of an atom, as written and without spaces; the variable of a quantifier.
        parts: the formulas inside.
    """

    kind: str
    name: str = ""
    parts: tuple[Node, ...] = ()

    def __str__(self) -> str:
        if self.kind == "atom":
            return self.name
        if self.kind == "not":
            return f"not {self.parts[0]}"
        if self.kind in ("forall", "exists"):
            return f"{self.kind} {self.name} {self.parts[0]}"
        return f"({self.parts[0]} {self.kind} {self.parts[1]})"


@cache
def _parser() -> Any:
    from lark import Lark

    return Lark(_GRAMMAR, parser="lalr")


def parse(text: str) -> Node:
    """The formula that a text holds. Raises BadFormula."""
    from lark.exceptions import LarkError

    depth = max(itertools.accumulate({"(": 1, ")": -1}.get(c, 0) for c in text), default=0)
    nots = max((len(m) for m in re.findall(r"(?:¬|~|not\b|\s)+", text)), default=0)
    if len(text) > _LONGEST or depth > _DEEPEST or nots > _DEEPEST:
        raise BadFormula("too long or too deeply nested")
    try:
        return _node(_parser().parse(text))
    except LarkError as error:
        raise BadFormula(str(error).splitlines()[0]) from None
    except RecursionError:
        raise BadFormula("too deeply nested") from None


def _node(tree: Any) -> Node:
    kind = tree.data
    if kind == "atom":
        return Node("atom", _term(tree))
    if kind == "not_":
        return Node("not", parts=(_node(tree.children[0]),))
    if kind == "quantified":
        word, variable, body = tree.children
        return Node(
            "forall" if str(word) in ("∀", "forall") else "exists", str(variable), (_node(body),)
        )
    left, right = tree.children
    return Node(CONNECTIVES[kind], parts=(_node(left), _node(right)))


def _term(tree: Any) -> str:
    name, *arguments = [child for child in tree.children if child is not None]
    return f"{name}({','.join(map(_term, arguments))})" if arguments else str(name)


def similarity(predicted: str, reference: str) -> float:
    """LE in [0, 1]: 0 for a text that cannot be read, 1 for the reference with other names.

    Only the matrices are compared. Literals are padded to equal number; at most 1000 pairings are
    tried, the most similar names first. Raises BadFormula when the reference cannot be read.
    """
    gold = parse(reference)
    try:
        guess = parse(predicted)
    except BadFormula:
        return 0.0
    mine, theirs = atoms(guess), atoms(gold)
    if max(len(mine), len(theirs)) > _MOST_LITERALS:
        return float(guess == gold)
    width = max(len(mine), len(theirs))
    mine = [*mine, *(f"~{i}" for i in range(width - len(mine)))]
    theirs = [*theirs, *(f"~{i}" for i in range(width - len(theirs)))]
    rows = list(itertools.product((False, True), repeat=width))
    truth = [_value(gold, dict(zip(theirs, row, strict=True))) for row in rows]
    best = 0
    for binding in itertools.islice(_bindings(mine, theirs), _BINDINGS):
        places = [theirs.index(binding[name]) for name in mine]
        same = 0
        for row, expected in zip(rows, truth, strict=True):
            given = {name: row[place] for name, place in zip(mine, places, strict=True)}
            same += _value(guess, given) == expected
        best = max(best, same)
    return best / len(rows)


def atoms(node: Node) -> list[str]:
    """The different atoms of a formula in the order in which they stand."""
    if node.kind == "atom":
        return [node.name]
    return list(dict.fromkeys(name for part in node.parts for name in atoms(part)))


def _bindings(mine: Sequence[str], theirs: Sequence[str]) -> Iterator[dict[str, str]]:
    """Pairings, those of similar names first."""
    order = [sorted(theirs, key=lambda t: -SequenceMatcher(None, name, t).ratio()) for name in mine]

    def choose(i: int, taken: dict[str, str]) -> Iterator[dict[str, str]]:
        if i == len(mine):
            yield dict(taken)
            return
        for other in order[i]:
            if other not in taken.values():
                taken[mine[i]] = other
                yield from choose(i + 1, taken)
                del taken[mine[i]]

    return choose(0, {})


def _value(node: Node, given: dict[str, bool]) -> bool:
    """The truth of the matrix when its atoms have these values."""
    if node.kind == "atom":
        return given[node.name]
    parts = [_value(part, given) for part in node.parts]
    if node.kind == "not":
        return not parts[0]
    if node.kind in ("forall", "exists"):
        return parts[0]
    a, b = parts
    return {"and": a and b, "or": a or b, "xor": a != b, "->": not a or b, "<->": a == b}[node.kind]


def equivalent(first: str, second: str, *, seconds: float = 2.0) -> bool | None:
    """Whether two formulas have the same models; None when z3 does not know in time.

    Looks for a counterexample among up to three things first, then for a proof over any number.
    Predicates and constants are the same when they have the same name and number of arguments.
    Raises BadFormula.
    """
    a, b = parse(first), parse(second)
    if any(_differ(a, b, seconds / 4, things) for things in (1, 2, 3)):
        return False
    differ = _differ(a, b, seconds / 4)
    return None if differ is None else not differ


def _differ(a: Node, b: Node, seconds: float, things: int = 0) -> bool | None:
    """Whether some model tells the formulas apart: one of that many things, or (0) of any size."""
    import z3

    context = z3.Context()
    if things:
        thing, _ = z3.EnumSort("Thing", [f"thing!{i}" for i in range(things)], ctx=context)
    else:
        thing = z3.DeclareSort("Thing", context)
    solver = z3.Solver(ctx=context)
    solver.set("timeout", int(1000 * seconds))
    solver.add(_z3(a, {}, thing, context) != _z3(b, {}, thing, context))
    found = solver.check()
    return True if found == z3.sat else False if found == z3.unsat else None


def _z3(node: Node, bound: dict[str, Any], thing: Any, context: Any) -> Any:
    import z3

    if node.kind == "atom":
        tree = _parser().parse(node.name).children
        name, *terms = [child for child in tree if child is not None]
        kinds = [thing] * len(terms)
        function = z3.Function(f"{name}/{len(terms)}", *kinds, z3.BoolSort(context))
        return function(*(_z3_term(term, bound, thing) for term in terms))
    if node.kind in ("forall", "exists"):
        variable = z3.Const(f"{node.name}!{len(bound)}", thing)
        body = _z3(node.parts[0], {**bound, node.name: variable}, thing, context)
        return (z3.ForAll if node.kind == "forall" else z3.Exists)([variable], body)
    parts = [_z3(part, bound, thing, context) for part in node.parts]
    if node.kind == "not":
        return z3.Not(parts[0])
    make = {
        "and": z3.And,
        "or": z3.Or,
        "xor": z3.Xor,
        "->": z3.Implies,
        "<->": lambda a, b: a == b,
    }
    return make[node.kind](*parts)


def _z3_term(tree: Any, bound: dict[str, Any], thing: Any) -> Any:
    import z3

    name, *arguments = [child for child in tree.children if child is not None]
    if not arguments:
        return bound.get(str(name), z3.Const(str(name), thing))
    function = z3.Function(f"{name}/{len(arguments)}", *[thing] * len(arguments), thing)
    return function(*(_z3_term(argument, bound, thing) for argument in arguments))


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
    node = parse(formula)
    steps: list[str] = []
    for _ in range(edits):
        places = list(_places(node))
        path, found = rng.choice(places)
        new = _mistaken(found, rng)
        steps.insert(0, f"replace {new} by {found}")
        node = _replaced(node, path, new)
    return str(node), steps


def _places(node: Node, path: tuple[int, ...] = ()) -> Iterator[tuple[tuple[int, ...], Node]]:
    yield path, node
    for i, part in enumerate(node.parts):
        yield from _places(part, (*path, i))


def _mistaken(node: Node, rng: random.Random) -> Node:
    if node.kind == "not":
        return node.parts[0]
    if node.kind == "atom":
        return Node("not", parts=(node,))
    if node.kind in ("forall", "exists"):
        return Node("exists" if node.kind == "forall" else "forall", node.name, node.parts)
    others = [kind for kind in CONNECTIVES.values() if kind != node.kind]
    return Node(rng.choice(others), parts=node.parts)


def _replaced(node: Node, path: tuple[int, ...], new: Node) -> Node:
    if not path:
        return new
    parts = list(node.parts)
    parts[path[0]] = _replaced(parts[path[0]], path[1:], new)
    return Node(node.kind, node.name, tuple(parts))


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


class LogicEnvironment(AnswerEnvironment):
    """A sentence to translate; the last line of the answer is the formula."""

    def grade(self, answer: str) -> dict[str, Any]:
        """{"formula", "similarity", "bleu", "equivalent": true, false or null for unknown}."""
        lines = [line.strip() for line in after_thinking(answer).splitlines() if line.strip()]
        formula, gold = (lines or [""])[-1], self.task.reference["formula"]
        try:
            same = equivalent(formula, gold)
        except BadFormula:
            return {"formula": formula, "similarity": 0.0, "bleu": 0.0, "equivalent": False}
        return {
            "formula": formula,
            "similarity": similarity(formula, gold),
            "bleu": bleu(str(parse(formula)), str(parse(gold))),
            "equivalent": same,
        }


@dataclass(slots=True)
class FormulaReward:
    """`weight` * LE + (1 - weight) * BLEU; 0 when unreadable.

    Attributes:
        strict: 1 when z3 proves the formulas equivalent and 0 when it refutes it; where it does not
            know, the mixture decides.
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
            Check("equivalent", float(outcome["equivalent"] is True), outcome["equivalent"]),
        ]
        if self.strict and outcome["equivalent"] is not None:
            return Score(float(outcome["equivalent"]), checks, evidence="z3")
        mixed = self.weight * outcome["similarity"] + (1 - self.weight) * outcome["bleu"]
        return Score(mixed, checks)
