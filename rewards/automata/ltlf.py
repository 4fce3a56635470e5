"""Linear temporal logic over finite traces (LTLf) as a reward (paper 34).

The formula is progressed over the trace: after each turn it is rewritten to what must hold of the
rest. One that has become true or false stays so, whatever comes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from agentrl.core import Check, ConfigError, Episode, Score
from agentrl.rewards.automata.events import Labels, labels_of

_GRAMMAR = r"""
?start: implies
?implies: or_ | or_ "->" implies -> implies
?or_: and_ ("|" and_)* -> or_
?and_: until ("&" until)* -> and_
?until: unary | unary "U" until -> until
?unary: "!" unary -> not_
      | "X" unary -> next_
      | "F" unary -> finally_
      | "G" unary -> globally
      | "(" implies ")"
      | "true" -> true
      | "false" -> false
      | LABEL -> label
LABEL: /(?!(?:X|F|G|U|true|false)\b)[A-Za-z_][\w:.\/-]*/
%import common.WS
%ignore WS
"""

Formula = tuple[Any, ...]
"""("label", name), ("not", f), ("and"/"or", f, g), ("next"/"weak", f), ("until"/"release", f, g),
("true",), ("false",). "weak" is next that holds at the end of a trace."""

TRUE: Formula = ("true",)
FALSE: Formula = ("false",)


@cache
def _parser() -> Any:
    from lark import Lark

    return Lark(_GRAMMAR, parser="earley")


def parse_ltl(text: str) -> Formula:
    """A formula: labels, ! & | ->, X (next), F (eventually), G (always), U (until).

    Raises ConfigError for what is none.
    """
    from lark.exceptions import LarkError

    try:
        return _build(_parser().parse(text))
    except LarkError as error:
        fix = "such as F(call:search & F call:submit)"
        raise ConfigError(f"{text!r} is no LTLf formula: {error}", fix=fix) from error


def _build(tree: Any) -> Formula:
    op = str(tree.data).rstrip("_")
    if op == "label":
        return ("label", str(tree.children[0]))
    parts = [_build(child) for child in tree.children]
    if op in ("true", "false"):
        return (op,)
    if op in ("and", "or"):
        found = parts[0]
        for part in parts[1:]:
            found = _join(op, found, part)
        return found
    return {
        "not": lambda: negate(parts[0]),
        "next": lambda: ("next", parts[0]),
        "finally": lambda: ("until", TRUE, parts[0]),
        "globally": lambda: ("release", FALSE, parts[0]),
        "until": lambda: ("until", parts[0], parts[1]),
        "implies": lambda: _join("or", negate(parts[0]), parts[1]),
    }[op]()


def negate(f: Formula) -> Formula:
    """Negation pushed to the labels."""
    pairs = {"and": "or", "or": "and", "next": "weak", "weak": "next"}
    pairs |= {"until": "release", "release": "until"}
    if f[0] == "label":
        return ("not", f)
    if f[0] == "not":
        return f[1]
    if f[0] in ("true", "false"):
        return FALSE if f[0] == "true" else TRUE
    return (pairs[f[0]], *map(negate, f[1:]))


def _join(op: str, a: Formula, b: Formula) -> Formula:
    unit, zero = (TRUE, FALSE) if op == "and" else (FALSE, TRUE)
    if zero in (a, b):
        return zero
    if a in (unit, b):
        return b
    return a if b == unit else (op, a, b)


def progress(f: Formula, labels: Labels) -> Formula:
    """What must hold of the rest of the trace after a step with these labels."""
    op = f[0]
    if op in ("true", "false"):
        return f
    if op == "label":
        return TRUE if f[1] in labels else FALSE
    if op == "not":
        return FALSE if f[1][1] in labels else TRUE
    if op in ("and", "or"):
        return _join(op, progress(f[1], labels), progress(f[2], labels))
    if op in ("next", "weak"):
        # Strong next needs a further step to exist; `at_end` of "some" is false, of "any" true.
        return _join(
            "and" if op == "next" else "or", ("some",) if op == "next" else ("none",), f[1]
        )
    if op in ("some", "none"):
        return TRUE if op == "some" else FALSE
    goal, keep = progress(f[2], labels), progress(f[1], labels)
    if op == "until":
        return _join("or", goal, _join("and", keep, f))
    return _join("and", goal, _join("or", keep, f))


def at_end(f: Formula) -> bool:
    """Whether a formula holds of the empty rest of a trace."""
    op = f[0]
    if op in ("and", "or"):
        return (all if op == "and" else any)(at_end(part) for part in f[1:])
    return op in ("true", "weak", "release", "none")


def holds(f: Formula, trace: Sequence[Labels]) -> bool:
    """Whether a trace of one or more steps satisfies a formula."""
    for labels in trace:
        f = progress(f, labels)
    return at_end(f)


@dataclass(slots=True)
class Ltlf:
    """`satisfied` when the labels of the turns satisfy the formula, else `violated`.

    With `early` the reward stands on the turn that decided it, else on the last one. Labels: see
    `labels_of`; {kind: ltlf, formula: "G(call:edit -> F call:test) & F call:submit"}.
    """

    formula: str
    satisfied: float = 1.0
    violated: float = 0.0
    early: bool = True
    name: str = "ltlf"
    _parsed: Formula = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._parsed = parse_ltl(self.formula)

    async def score(self, episode: Episode) -> Score:
        trace = labels_of(episode)
        if not trace:
            return Score(abstained=True, evidence="no turns")
        rest, decided = self._parsed, len(trace) - 1
        for t, labels in enumerate(trace):
            rest = progress(rest, labels)
            if rest in (TRUE, FALSE):
                decided = t
                break
        held = at_end(rest)
        value = self.satisfied if held else self.violated
        steps = [0.0] * len(trace)
        steps[decided if self.early else -1] = value
        said = f"decided by turn {decided}"
        return Score(value, [Check(self.formula, float(held), held, said, turn=decided)], steps)
