"""Paper 34, objective formalisms: what needs a memory, and that ours has one."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from agentrl.papers.kit.toys import table
from agentrl.papers.registry import Measured
from agentrl.rewards.automata.ltlf import Formula, holds, parse_ltl
from agentrl.rewards.automata.machine import RewardMachine, Transition, markov_rewards_exist

CLAIM = (
    "A reward machine pays for coffee then office, once and in that order only; LTLf verdicts "
    "equal the semantics on all short traces; an order of trajectories that no Markov reward can "
    "express, a machine can."
)
COFFEE = RewardMachine(
    "start",
    [
        Transition(state="start", when="c", to="coffee"),
        Transition(state="coffee", when="o", to="done", reward=1.0),
    ],
    final=["done"],
)
XOR = RewardMachine(
    "even",
    [
        Transition(state="even", when="a", to="even"),
        Transition(state="even", when="b", to="odd", reward=1.0),
        Transition(state="odd", when="b", to="even", reward=-1.0),
    ],
)
FORMULAS = (
    "F(a & F b)",
    "G(a -> X b)",
    "a U b",
    "!(a U b)",
    "G(a | b) & F a",
    "X !a",
    "F G a",
    "G F b",
)


def semantics(f: Formula, trace: Sequence[set[str]], i: int = 0) -> bool:
    """LTLf by its definition, on position i of a trace."""
    rest = range(i, len(trace))
    rules: dict[str, Any] = {
        "true": lambda: True,
        "false": lambda: False,
        "label": lambda: f[1] in trace[i],
        "not": lambda: not semantics(f[1], trace, i),
        "and": lambda: semantics(f[1], trace, i) and semantics(f[2], trace, i),
        "or": lambda: semantics(f[1], trace, i) or semantics(f[2], trace, i),
        "next": lambda: i + 1 < len(trace) and semantics(f[1], trace, i + 1),
        "weak": lambda: i + 1 >= len(trace) or semantics(f[1], trace, i + 1),
        "until": lambda: any(
            semantics(f[2], trace, k) and all(semantics(f[1], trace, j) for j in range(i, k))
            for k in rest
        ),
        "release": lambda: all(
            semantics(f[2], trace, k) or any(semantics(f[1], trace, j) for j in range(i, k))
            for k in rest
        ),
    }
    return bool(rules[f[0]]())


def run(seeds: Sequence[int]) -> Measured:
    cases = []
    for trace, wanted in (("co", 1.0), ("oc", 0.0), ("coco", 1.0), ("cc", 0.0)):
        cases.append(
            (f"coffee machine on {trace}", wanted, sum(COFFEE.run([{x} for x in trace])[0]))
        )
    steps = [set(s) for s in ("", "a", "b", "ab")]
    for text in FORMULAS:
        formula = parse_ltl(text)
        wrong = sum(
            holds(formula, trace) != semantics(formula, trace)
            for n in range(1, 5)
            for trace in itertools.product(steps, repeat=n)
        )
        cases.append((f"{text}: traces judged wrongly", 0.0, wrong))
    worlds = ["aa", "ab", "ba", "bb"]
    better = [(1, 0), (2, 0), (1, 3), (2, 3)]
    cases.append(
        ("a Markov reward for XOR exists", 0.0, float(markov_rewards_exist(worlds, better)))
    )
    cases.append(
        ("one for 'more b' exists", 1.0, float(markov_rewards_exist(worlds, [(1, 0), (3, 1)])))
    )
    worth = [sum(XOR.run([{x} for x in w])[0]) for w in worlds]
    cases.append(
        ("the machine orders XOR", 1.0, float(all(worth[i] > worth[j] for i, j in better)))
    )
    return table(cases)
