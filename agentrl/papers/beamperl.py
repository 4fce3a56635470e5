"""Paper 29, BeamPERL: exact beam statics, and a verifier that cannot be paid off with a long list.

The symbolic reactions balance forces and moments on both test distributions; the closed form for a
simple beam agrees; listing many values, which the published verifier rewards, is refused here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from fractions import Fraction

from agentrl.core import Task
from agentrl.environments.beam import (
    REACTIONS,
    Beam,
    BeamEnvironment,
    BeamReward,
    make_tasks,
)
from agentrl.papers.kit.rollouts import converse, values
from agentrl.papers.registry import Measured

CLAIM = (
    "Every generated beam is in exact balance; the right reactions earn the full reward, also with "
    "moved supports, and a list of guesses that contains them earns the format alone."
)
BEAMS = 12


def run(seeds: Sequence[int]) -> Measured:
    return asyncio.run(_run(seeds))


async def _run(seeds: Sequence[int]) -> Measured:
    rows: list[list[str | int | float]] = []
    passed = _closed_form()
    for seed in seeds:
        for moved in (False, True):
            tasks = list(make_tasks(BEAMS, seed=seed, loads=3, moved_supports=moved))
            right = await _mean(tasks, surplus=False)
            listed = await _mean(tasks, surplus=True)
            lenient = [_lenient(task) for task in tasks]
            rows.append([seed, str(moved), right, listed, sum(lenient) / BEAMS])
            passed &= abs(right - 1) < 1e-9 and abs(listed - 0.333) < 1e-9 and all(lenient)
    columns = ["seed", "supports moved", "right", "many guesses", "released check takes them"]
    return Measured(passed, columns, rows)


def _closed_form() -> bool:
    """R_A = P (L - a) / L and R_B = P a / L for one load at a."""
    return all(
        Beam(Fraction(0), Fraction(1), ((Fraction(1), Fraction(a, 10)),)).reactions()
        == (1 - Fraction(a, 10), Fraction(a, 10))
        for a in range(1, 10)
    )


def _box(task: Task, surplus: bool) -> str:
    gold = [Fraction(r) for r in task.reference["reactions"]]
    guesses = [g + Fraction(1, 7) for g in gold] if surplus else []
    return ", ".join(f"{v.numerator}P/{v.denominator}" for v in [*gold, *guesses])


async def _mean(tasks: Sequence[Task], surplus: bool) -> float:
    episodes = [
        await converse(BeamEnvironment(), task, [f"so\n</think>\n\\boxed{{{_box(task, surplus)}}}"])
        for task in tasks
    ]
    found = await values(BeamReward(), episodes)
    return sum(found) / len(found)


def _lenient(task: Task) -> bool:
    """The published check: is every gold value matched, whatever else stands there?"""
    given = REACTIONS.read(_box(task, surplus=True)) or []
    gold = [float(Fraction(r)) for r in task.reference["reactions"]]
    return all(any(abs(g - value) <= REACTIONS.tolerance for g in given) for value in gold)
