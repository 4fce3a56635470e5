"""The reactions of a beam on two supports, by exact statics (BeamPERL, paper 29).

P        2P          a beam of length L on a pin at a and a roller at b; point loads w_i P at
|    |   |           x_i. Two equations decide: the forces sum to zero, and so do the moments:
=====^=======o==         R_b = sum w_i (x_i - a) / (b - a),   R_a = sum w_i - R_b
     a       b       (a load outside the supports may lift one of them: R < 0)
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from agentrl.core import Check, ConfigError, Episode, Score, Task, derive_seed
from agentrl.environments.answers import (
    THINK_END,
    AnswerEnvironment,
    after_thinking,
    boxed,
    ungraded,
)
from agentrl.rewards.verifiers.base import Item
from agentrl.rewards.verifiers.numbers import NumberSet

REACTIONS = NumberSet("P")
HOW = "Think, close with </think> on a line of its own, then give all reactions in one \\boxed{}."


@dataclass(slots=True, frozen=True)
class Beam:
    """Supports at the positions `a` < `b`, and loads (weight in units of P, position), in units
    of L."""

    a: Fraction
    b: Fraction
    loads: tuple[tuple[Fraction, Fraction], ...]

    def reactions(self) -> tuple[Fraction, Fraction]:
        """(R_a, R_b) in units of P, upward positive; solved by sympy from the equilibrium."""
        import sympy

        first, second = sympy.symbols("R_a R_b")
        forces = [(sympy.Rational(w), sympy.Rational(x)) for w, x in self.loads]
        a, b = sympy.Rational(self.a), sympy.Rational(self.b)
        up = sympy.Eq(first + second, sum(w for w, _ in forces))
        turning = sympy.Eq(first * a + second * b, sum(w * x for w, x in forces))
        solved = sympy.solve([up, turning], [first, second])
        return Fraction(str(solved[first])), Fraction(str(solved[second]))

    def words(self) -> str:
        loads = " and ".join(f"{_times(w, 'P')} at x = {_times(x, 'L')}" for w, x in self.loads)
        return (
            f"A beam of length L has a pin at x = {_times(self.a, 'L')} and a roller at "
            f"x = {_times(self.b, 'L')}. Point loads act downward: {loads}. "
            "Find the vertical reactions at the pin and at the roller."
        )


def _times(factor: Fraction, unit: str) -> str:
    if factor == 0:
        return "0"
    top = unit if factor.numerator == 1 else f"{factor.numerator}{unit}"
    return top if factor.denominator == 1 else f"{top}/{factor.denominator}"


def make_tasks(
    count: int, *, seed: int = 0, loads: int = 1, moved_supports: bool = False, grid: int = 20
) -> Iterator[Task]:
    """Beams with `loads` point loads.

    Args:
        moved_supports: the supports are not at the ends: the paper's other test distribution.
        grid: positions are multiples of L / grid.

    Raises:
        ConfigError: no load, or more than there are places.
    """
    if not 1 <= loads < grid:
        raise ConfigError(f"loads is {loads}", fix=f"use 1 to {grid - 1}")
    for i in range(count):
        rng = random.Random(derive_seed(seed, "beam", i))
        ends = (
            (rng.randint(1, grid // 3), rng.randint(2 * grid // 3, grid - 1))
            if moved_supports
            else (0, grid)
        )
        places = rng.sample(range(1, grid), loads)
        beam = Beam(
            Fraction(ends[0], grid),
            Fraction(ends[1], grid),
            tuple((Fraction(rng.randint(1, 5)), Fraction(x, grid)) for x in sorted(places)),
        )
        yield Task(
            f"beam-{seed}-{i}",
            f"{beam.words()}\n{HOW}",
            environment="beam",
            reference={"reactions": [str(r) for r in beam.reactions()]},
            metadata={"loads": loads, "moved_supports": moved_supports},
        )


class BeamEnvironment(AnswerEnvironment):
    """A statics question; the answer is one box after the thinking."""

    async def grade(self, answer: str) -> dict[str, Any]:
        """{"reactions": what the box holds, "right", "format"}."""
        boxes = boxed(after_thinking(answer))
        given = boxes[-1] if boxes else ""
        gold = [Fraction(r) for r in self.task.reference["reactions"]]
        judged = await REACTIONS.verify(Item("", given, gold))
        return {
            "reactions": given,
            "right": judged.value == 1.0,
            "format": answer.count(f"\n{THINK_END}\n") == 1
            and answer.count(THINK_END) == 1
            and any(box.strip() for box in boxes),
        }


@dataclass(slots=True)
class BeamReward:
    """0.333 for the format and 0.667 for the right reactions."""

    form: float = 0.333
    right: float = 0.667
    name: str = "beam"

    async def score(self, episode: Episode) -> Score:
        outcome = episode.outcome
        if "reactions" not in outcome:
            return ungraded("reactions")
        checks = [Check(key, float(outcome[key]), outcome[key]) for key in ("format", "right")]
        return Score(self.form * outcome["format"] + self.right * outcome["right"], checks)
