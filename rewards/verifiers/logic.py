"""First-order logic: is a formula equivalent to the reference (LogicLLaMA, paper 14)?"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from agentrl.core import Check, Score
from agentrl.rewards.verifiers.base import Item, verdict
from agentrl.rewards.verifiers.worker import Workers

_LONGEST = 2_000
_MOST_BINDINGS = 1_000
_MOST_LITERALS = 12

_GRAMMAR = r"""
?start: iff
?iff: implies (_IFF implies)*          -> iff
?implies: xor | xor _IMPLIES implies   -> implies
?xor: disjunction (_XOR disjunction)*  -> xor
?disjunction: conjunction (_OR conjunction)* -> or_
?conjunction: unary (_AND unary)*      -> and_
?unary: _NOT unary -> not_
      | _ALL NAME unary -> all_
      | _SOME NAME unary -> some
      | "(" iff ")"
      | NAME "(" term ("," term)* ")" -> atom
      | NAME -> atom
?term: NAME -> name
     | NAME "(" term ("," term)* ")" -> term
_IFF: "↔" | "<->" | "<=>" | /\biff\b/
_IMPLIES: "→" | "->" | "=>" | /\bimplies\b/
_XOR: "⊕" | "^" | /\bxor\b/
_OR: "∨" | "|" | /\bor\b/
_AND: "∧" | "&" | /\band\b/
_NOT: "¬" | "~" | "!" | /\bnot\b/
_ALL.2: "∀" | /\bforall\b/
_SOME.2: "∃" | /\bexists\b/
NAME: /(?!(?:forall|exists|not|and|or|xor|implies|iff)\b)[^\W\d]\w*/
%import common.WS
%ignore WS
%ignore "."
"""


@dataclass(slots=True)
class Formula:
    """(operator, parts): "all"/"some" (variable, body), "atom" (name, terms...), connectives."""

    op: str
    parts: tuple[Any, ...]


@cache
def _parser() -> Any:
    from lark import Lark

    return Lark(_GRAMMAR, parser="earley", maybe_placeholders=False)


def parse_formula(text: str) -> Formula | None:
    """None when the text is no formula (or an enormous one)."""
    from lark.exceptions import LarkError

    if len(text) > _LONGEST:
        return None
    try:
        return _formula(_parser().parse(text))
    except (LarkError, RecursionError):
        return None


def _formula(tree: Any) -> Formula:
    op = str(tree.data).rstrip("_")
    if op in ("all", "some"):
        return Formula(op, (str(tree.children[0]), _formula(tree.children[1])))
    if op == "atom":
        return Formula(op, (str(tree.children[0]), *map(_term, tree.children[1:])))
    parts = tuple(map(_formula, tree.children))
    return parts[0] if len(parts) == 1 and op != "not" else Formula(op, parts)


def _term(tree: Any) -> str:
    head = str(tree.children[0])
    arguments = ",".join(map(_term, tree.children[1:]))
    return f"{head}({arguments})" if arguments else head


@dataclass(slots=True)
class LogicEquivalence:
    """1 when z3 proves both formulas equivalent; else the share LE of agreeing truth tables times
    `partial`.

    LE (paper 14): the matrices' distinct atoms are bound one to one (as many bindings as 1000 are
    tried, close names first), and LE is the best share of equal rows of both truth tables. A
    predicate or name may thus be called otherwise; quantifiers count only in the proof. A formula
    that cannot be read is 0. A solver that gives up within `seconds` leaves LE to decide.

    Attributes:
        rename: atoms may be bound by position for the proof as well.
    """

    partial: float = 0.0
    seconds: float = 5.0
    rename: bool = False
    name: str = "logic"
    _workers: Workers = field(init=False, repr=False, default_factory=Workers)

    async def verify(self, item: Item) -> Score:
        if parse_formula(str(item.reference)) is None:
            return Score(abstained=True, evidence="the reference is no formula")
        if parse_formula(item.answer) is None:
            return verdict(False, "the answer is no formula")
        try:
            proven, share = await self._workers.call(
                f"{__name__}:compare",
                self.seconds,
                answer=item.answer,
                reference=str(item.reference),
                rename=self.rename,
                milliseconds=int(self.seconds * 800),
            )
        except TimeoutError:
            return verdict(False, f"no proof within {self.seconds:g} s")
        checks = [
            Check("equivalent", float(proven), proven, "z3"),
            Check("LE", share, None, "best share of equal rows of the truth tables"),
        ]
        return Score(1.0 if proven else self.partial * share, checks)


def ready() -> None:
    """Import the parser and the solver in a worker, before the first deadline runs."""
    compare("P(x)", "P(x)", False, 1000)


def compare(answer: str, reference: str, rename: bool, milliseconds: int) -> tuple[bool, float]:
    """(z3 proves equivalence, LE). Runs in a Worker."""
    a, b = parse_formula(answer), parse_formula(reference)
    assert a is not None
    assert b is not None
    proven = equivalent(_renamed(a, b) if rename else a, b, milliseconds)
    return proven, truth_share(a, b)


def _renamed(a: Formula, b: Formula) -> Formula:
    """`a` with its predicates called as those of `b`, in the order they first occur."""
    names = [
        list(dict.fromkeys((f.parts[0], len(f.parts)) for f in atoms(x, distinct=False)))
        for x in (a, b)
    ]
    if [n for _, n in names[0]] != [n for _, n in names[1]]:
        return a
    call = {old: new for (old, _), (new, _) in zip(*names, strict=True)}

    def rewrite(f: Formula) -> Formula:
        if f.op == "atom":
            return Formula("atom", (call[f.parts[0]], *f.parts[1:]))
        return Formula(f.op, tuple(rewrite(p) if isinstance(p, Formula) else p for p in f.parts))

    return rewrite(a)


def equivalent(a: Formula, b: Formula, milliseconds: int = 4000) -> bool:
    """Whether z3 proves a <-> b over an uninterpreted domain."""
    import z3

    domain = z3.DeclareSort("Thing")
    solver = z3.Solver()
    solver.set("timeout", milliseconds)
    solver.add(z3.Not(_z3(a, {}, domain) == _z3(b, {}, domain)))
    return bool(solver.check() == z3.unsat)


def _z3(f: Formula, bound: dict[str, Any], domain: Any) -> Any:
    import z3

    if f.op == "atom":
        terms = [bound.get(t, z3.Const(f"c_{t}", domain)) for t in f.parts[1:]]
        signature = [domain] * len(terms) + [z3.BoolSort()]
        return z3.Function(f"p_{f.parts[0]}_{len(terms)}", *signature)(*terms)
    if f.op in ("all", "some"):
        name, body = f.parts
        variable = z3.FreshConst(domain, name)
        quantifier = z3.ForAll if f.op == "all" else z3.Exists
        return quantifier([variable], _z3(body, bound | {name: variable}, domain))
    parts = [_z3(p, bound, domain) for p in f.parts]
    make = {
        "not": lambda: z3.Not(parts[0]),
        "and": lambda: z3.And(*parts),
        "or": lambda: z3.Or(*parts),
        "implies": lambda: z3.Implies(*parts),
    }
    if f.op in make:
        return make[f.op]()
    result = parts[0]
    for part in parts[1:]:
        result = (result == part) if f.op == "iff" else z3.Xor(result, part)
    return result


def atoms(f: Formula, *, distinct: bool = True) -> list[Formula]:
    """The atoms of a formula in the order they occur."""
    if f.op == "atom":
        return [f]
    found = [a for p in f.parts if isinstance(p, Formula) for a in atoms(p, distinct=False)]
    return list({a.parts: a for a in found}.values()) if distinct else found


def truth_share(a: Formula, b: Formula) -> float:
    """LE in [0, 1]: the best share of equal rows over bindings of atoms; 0 for too many atoms."""
    first, second = ([x.parts for x in atoms(f)] for f in (a, b))
    n = max(len(first), len(second))
    if n > _MOST_LITERALS:
        return 0.0
    rows = list(itertools.product((False, True), repeat=n))
    wanted = [_holds(b, dict(zip(second, row, strict=False))) for row in rows]
    best = 0.0
    for order in itertools.islice(_bindings(first, second, n), _MOST_BINDINGS):
        place = dict(zip(first, order, strict=False))
        given = [_holds(a, {atom: row[at] for atom, at in place.items()}) for row in rows]
        best = max(best, sum(map(bool.__eq__, given, wanted)) / len(rows))
    return best


def _bindings(
    first: list[tuple[Any, ...]], second: list[tuple[Any, ...]], n: int
) -> Iterable[tuple[int, ...]]:
    """Where each atom of `first` goes among n places; equal and alike names first."""
    from difflib import SequenceMatcher

    def alike(a: tuple[Any, ...], at: int) -> float:
        if at >= len(second):
            return 0.0
        return SequenceMatcher(None, "|".join(a), "|".join(second[at])).ratio()

    orders = [sorted(range(n), key=lambda at, a=a: -alike(a, at)) for a in first]  # type: ignore[misc]

    def extend(i: int, used: tuple[int, ...]) -> Iterable[tuple[int, ...]]:
        if i == len(first):
            yield used
            return
        for at in orders[i]:
            if at not in used:
                yield from extend(i + 1, (*used, at))

    return extend(0, ())


def _holds(f: Formula, truth: dict[tuple[Any, ...], bool]) -> bool:
    """The matrix of a formula under a truth assignment; quantifiers are passed over."""
    if f.op == "atom":
        return truth[f.parts]
    if f.op in ("all", "some"):
        return _holds(f.parts[1], truth)
    values = [_holds(p, truth) for p in f.parts]
    if f.op == "not":
        return not values[0]
    if f.op == "implies":
        return not values[0] or values[1]
    if f.op in ("and", "or"):
        return all(values) if f.op == "and" else any(values)
    result = values[0]
    for value in values[1:]:
        result = (result == value) if f.op == "iff" else (result != value)
    return result
