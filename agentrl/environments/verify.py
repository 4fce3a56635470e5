"""Is a candidate answer the reference in other words? (CoSineVerifier, paper 13, arXiv 2512.01224)

One item an episode: a question, its reference and a candidate. The policy may compute (`python`, in
a sandbox) and convert units (`convert`, by pint) before it ends with "Verdict: correct" or
"Verdict: incorrect".
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any, Literal, get_args

from agentrl.core import (
    Check,
    Episode,
    InfraError,
    Message,
    Sandbox,
    SandboxProvider,
    Score,
    Task,
    derive_seed,
)
from agentrl.environments.answers import AnswerEnvironment, after_thinking, ungraded
from agentrl.tools import ToolError, tool

Kind = Literal["units", "numeric", "algebra", "choice"]
SYSTEM = (
    "Decide whether the candidate answer says the same as the reference. Use the tools to compute. "
    "End with one line: Verdict: correct, or Verdict: incorrect."
)
_VERDICT = re.compile(r"^\s*Verdict:\s*(correct|incorrect)\s*\.?\s*$", re.IGNORECASE | re.MULTILINE)
# What pint would otherwise evaluate at length: 10**10**10.
_UNIT = re.compile(r"[A-Za-zµ°Ωμ%][\w µ°Ω/*^().-]{0,60}")


@cache
def _units() -> Any:
    from pint import UnitRegistry

    return UnitRegistry()


def convert(value: float, source: str, target: str) -> float:
    """A number in other units. Raises ValueError: unknown units, or of another dimension."""
    import pint

    for unit in (source, target):
        if not _UNIT.fullmatch(unit) or re.search(r"\^\s*-?\d{2}|\*\*\s*-?\d{2}", unit):
            raise ValueError(f"{unit!r} is not a unit")
    try:
        registry = _units()
        return float(registry.Quantity(value, source).to(target).magnitude)
    except pint.errors.PintError as error:
        raise ValueError(str(error)) from error
    except Exception as error:  # the boundary: a policy's text in pint's expression parser
        raise ValueError(f"cannot read the units: {error}") from error


class VerifyEnvironment(AnswerEnvironment):
    """One answer to check, with tools.

    Args:
        sandboxes: where `python` runs; without one there is only `convert`.
        python_seconds: of one run.
    """

    def __init__(
        self, *, sandboxes: SandboxProvider | None = None, python_seconds: float = 10.0
    ) -> None:
        self._provider, self._seconds = sandboxes, python_seconds
        self._sandbox: Sandbox | None = None

    @property
    def tools(self) -> dict[str, Any]:
        offered = super().tools
        if self._provider is None:
            offered.pop("python")
        return offered

    async def reset(self, task: Task) -> list[Message]:
        self.task = task
        if self._provider is not None:
            self._sandbox = await self._provider.acquire()
        return [Message("system", SYSTEM), Message("user", task.prompt)]

    @tool
    def convert(self, value: float, source: str, target: str) -> str:
        """Convert a quantity to other units.

        Args:
            value: the number.
            source: its units, such as km/h.
            target: the units wanted, such as m/s.
        """
        try:
            return f"{convert(value, source, target):.10g} {target}"
        except ValueError as error:
            raise ToolError(str(error)) from None

    @tool(timeout=60.0)
    async def python(self, code: str) -> str:
        """Run a Python program and read what it prints.

        Args:
            code: the program.
        """
        if self._sandbox is None:
            raise InfraError("no_sandbox", "`python` has no sandbox to run in")
        await self._sandbox.write("program.py", code)
        done = await self._sandbox.exec("python3 program.py", timeout=self._seconds)
        if not done.ok:
            raise ToolError(f"exit code {done.exit_code}\n{done.output}")
        return done.output

    def grade(self, answer: str) -> dict[str, Any]:
        """{"verdict": "correct" | "incorrect" | "", "right": does it agree with the gold label}."""
        found = _VERDICT.findall(after_thinking(answer))
        verdict = found[0].lower() if len(found) == 1 else ""
        gold = "correct" if self.task.reference["correct"] else "incorrect"
        return {"verdict": verdict, "right": verdict == gold}

    async def close(self) -> None:
        sandbox, self._sandbox = self._sandbox, None
        if sandbox is not None and self._provider is not None:
            await self._provider.release(sandbox)


@dataclass(slots=True)
class VerdictReward:
    """1 for the right verdict, and `tool_bonus` on top where computing was the way to it.

    The bonus is for items of a computing kind and at least one call that ran. A wrong verdict earns
    nothing, whatever was called; no readable verdict earns `malformed`.
    """

    tool_bonus: float = 0.1
    malformed: float = 0.0
    computing: tuple[str, ...] = ("units", "numeric", "algebra")
    name: str = "verdict"

    async def score(self, episode: Episode) -> Score:
        if "verdict" not in episode.outcome:
            return ungraded("verdict")
        if not episode.outcome["verdict"]:
            return Score(self.malformed, evidence="no readable verdict")
        right = bool(episode.outcome["right"])
        computed = any(result.ok for turn in episode.turns for result in turn.results)
        pays = right and computed and episode.task.metadata.get("kind") in self.computing
        checks = [Check("right", float(right), right), Check("computed", float(computed), computed)]
        return Score(float(right) + self.tool_bonus * pays, checks)


def make_tasks(
    count: int, *, seed: int = 0, kinds: Sequence[Kind] = get_args(Kind)
) -> Iterator[Task]:
    """Items whose gold label is known because the candidate was made right or wrong on purpose."""
    for i in range(count):
        rng = random.Random(derive_seed(seed, "verify", i))
        kind: Kind = kinds[i % len(kinds)]
        right = rng.random() < 0.5
        question, reference, candidate = _MAKERS[kind](rng, right)
        yield Task(
            f"verify-{seed}-{i}",
            f"Question: {question}\nReference: {reference}\nCandidate: {candidate}",
            environment="verify",
            payload={"reference": reference, "candidate": candidate},
            reference={"correct": right},
            metadata={"kind": kind},
        )


def _unit_item(rng: random.Random, right: bool) -> tuple[str, str, str]:
    source, target, factor = rng.choice(
        [
            ("km/h", "m/s", Fraction(5, 18)),
            ("h", "s", Fraction(3600)),
            ("m", "cm", Fraction(100)),
            ("kJ", "J", Fraction(1000)),
            ("L", "mL", Fraction(1000)),
        ]
    )
    value = 18 * rng.randint(1, 40)
    converted = value * factor * (1 if right else Fraction(rng.choice([1, 3, 20]), 2))
    return "How much is it?", f"{value} {source}", f"{float(converted):g} {target}"


def _numeric_item(rng: random.Random, right: bool) -> tuple[str, str, str]:
    top, bottom = rng.randint(1, 99), rng.choice([4, 5, 8, 16, 20, 25])
    value = Fraction(top, bottom)
    shown = value if right else value + Fraction(rng.choice([-1, 1]), bottom)
    return "What is the value?", f"{value}", f"{float(shown):.6g}"


def _algebra_item(rng: random.Random, right: bool) -> tuple[str, str, str]:
    a, b = rng.randint(1, 9), rng.randint(1, 9)
    linear = a + b + (0 if right else rng.choice([-1, 1]))
    return "Expand the product.", f"(x+{a})*(x+{b})", f"x**2 + {linear}*x + {a * b}"


def _choice_item(rng: random.Random, right: bool) -> tuple[str, str, str]:
    letter = rng.choice("ABCD")
    other = rng.choice([x for x in "ABCD" if x != letter])
    return "Which option?", letter, f"the answer is ({letter if right else other})"


_MAKERS = {
    "units": _unit_item,
    "numeric": _numeric_item,
    "algebra": _algebra_item,
    "choice": _choice_item,
}
