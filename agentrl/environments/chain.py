"""Problems chained by their answers (R-Horizon, paper 2).

Problem j > 1 loses one integer v; what stands in its place is "[variable j]", and the text says

    [variable j] = [answer j-1] + d        with d = v - (the answer of problem j-1)

so that every gold answer stays what it was, and nobody can begin at the end.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

from agentrl.core import Check, ConfigError, Episode, Message, Score, Task, Turn, derive_seed
from agentrl.environments.answers import AnswerEnvironment, after_thinking, boxed, ungraded
from agentrl.environments.base import Observation

# An integer that can be replaced alone: no part of a word, a decimal, a fraction, an exponent, a
# function's name or argument, a list of digits.
_INTEGER = re.compile(r"(?<![\w.^_/{\\,-])\d{1,9}(?![\w^_/}]|[.,]\d|\s*/)")
_ANSWER = re.compile(r"^\s*([+-]?\d+)\s*$")
_LINE = re.compile(r"^\s*Problem (\d+):.*$", re.MULTILINE)
HOW = (
    "Solve the problems in order. End with one line per problem, each like\n"
    "Problem 1: \\boxed{answer}"
)
HOW_ONE = "Give the answer as \\boxed{answer}."


def replaceable(text: str) -> list[tuple[int, int]]:
    """(start, end) of every integer of a text that a variable can stand for."""
    return [match.span() for match in _INTEGER.finditer(text)]


def compose(problems: Sequence[Task], *, seed: int = 0, stepwise: bool = False) -> Task:
    """One task out of several with integer answers (`reference["answer"]`), in that order.

    Args:
        stepwise: problem j is shown after problem j-1 was answered, else all at once.

    Raises:
        ConfigError: an answer is no integer, or a problem has no integer that can be replaced.
    """
    rng = random.Random(derive_seed(seed, "chain", *(p.id for p in problems)))
    answers = [_integer(problem) for problem in problems]
    texts = [problems[0].prompt]
    for j in range(1, len(problems)):
        texts.append(_linked(problems[j], j, answers[j - 1], rng))
    shown = [f"Problem {j}: {text}" for j, text in enumerate(texts, start=1)]
    prompt = f"{shown[0]}\n{HOW_ONE}" if stepwise else "\n\n".join([*shown, HOW])
    return Task(
        "+".join(problem.id for problem in problems),
        prompt,
        environment="chain",
        payload={"problems": shown, "stepwise": stepwise},
        reference={"answers": answers},
        metadata={"horizon": len(problems), "parts": [problem.id for problem in problems]},
    )


def _integer(problem: Task) -> int:
    answer = problem.reference.get("answer")
    if isinstance(answer, int) and not isinstance(answer, bool):
        return answer
    if isinstance(answer, str) and (match := _ANSWER.match(answer)):
        return int(match[1])
    raise ConfigError(
        f"the answer {answer!r} is not an integer",
        where=f"task {problem.id}",
        fix="chain only problems whose reference has an integer `answer`",
    )


def _linked(problem: Task, j: int, before: int, rng: random.Random) -> str:
    spans = replaceable(problem.prompt)
    if not spans:
        raise ConfigError(
            "no integer of this problem can be replaced",
            where=f"task {problem.id}",
            fix="leave it out, or put it first: the first problem of a chain stays as it is",
        )
    start, end = rng.choice(spans)
    difference = int(problem.prompt[start:end]) - before
    sign = "+" if difference >= 0 else "-"
    name = f"[variable {j + 1}]"
    return (
        f"{name} = [answer {j}] {sign} {abs(difference)}. "
        f"{problem.prompt[:start]}{name}{problem.prompt[end:]}"
    )


def chains(
    problems: Sequence[Task], count: int, *, horizon: int, seed: int = 0, stepwise: bool = False
) -> Iterator[Task]:
    """`count` chains of `horizon` different problems each, drawn anew for every chain."""
    for i in range(count):
        rng = random.Random(derive_seed(seed, "chains", i))
        picked = rng.sample(list(problems), horizon)
        task = compose(picked, seed=derive_seed(seed, i), stepwise=stepwise)
        task.id = f"chain-{horizon}-{seed}-{i}"
        yield task


def arithmetic(count: int, *, seed: int = 0, terms: int = 2, highest: int = 20) -> Iterator[Task]:
    """Plain sums and differences: seeds for chains whose difficulty is `terms` and `highest`."""
    for i in range(count):
        rng = random.Random(derive_seed(seed, "arithmetic", i))
        numbers = [rng.randint(1, highest) for _ in range(terms)]
        signs = [rng.choice("+-") for _ in range(terms - 1)]
        text = str(numbers[0])
        value = numbers[0]
        for sign, number in zip(signs, numbers[1:], strict=True):
            text += f" {sign} {number}"
            value += number if sign == "+" else -number
        yield Task(f"sum-{seed}-{i}", f"What is {text}?", reference={"answer": value})


def make_tasks(
    count: int,
    *,
    seed: int = 0,
    horizon: int = 2,
    terms: int = 2,
    highest: int = 20,
    stepwise: bool = False,
) -> Iterator[Task]:
    """Chains of `horizon` sums; see `arithmetic` for what makes one hard."""
    problems = list(arithmetic(max(4 * horizon, count), seed=seed, terms=terms, highest=highest))
    return chains(problems, count, horizon=horizon, seed=seed, stepwise=stepwise)


class ChainEnvironment(AnswerEnvironment):
    """Chained problems, all at once or one after the other."""

    def reset(self, task: Task) -> str:
        self._given: list[str] = []
        return str(super().reset(task))

    async def step(self, turn: Turn) -> Observation:
        problems = self.task.payload["problems"]
        if not self.task.payload["stepwise"]:
            return await super().step(turn)
        self._given.append((boxed(after_thinking(turn.text)) or [""])[-1])
        if len(self._given) == len(problems):
            return Observation([], done=True)
        shown = f"{problems[len(self._given)]}\n{HOW_ONE}"
        return Observation([Message("user", shown)])

    def grade(self, answer: str) -> dict[str, Any]:
        """{"answers": as given, "right": yes or no by problem, "counted": as many as asked}."""
        gold = self.task.reference["answers"]
        given = self._given if self.task.payload["stepwise"] else final_answers(answer)
        padded = [*given[: len(gold)], *[""] * (len(gold) - len(given))]
        return {
            "answers": given,
            "right": [_same(a, b) for a, b in zip(padded, gold, strict=True)],
            "counted": len(given) == len(gold),
        }


def final_answers(text: str) -> list[str]:
    r"""What the lines "Problem i: \boxed{..}" give, in order; without such lines, every box."""
    final = after_thinking(text)
    lines = [match[0] for match in _LINE.finditer(final)]
    return [box for line in lines for box in boxed(line)] if lines else boxed(final)


def _same(given: str, gold: int) -> bool:
    match = _ANSWER.match(given.replace(",", ""))
    return match is not None and int(match[1]) == gold


@dataclass(slots=True)
class ChainReward:
    """1 when "all" answers are right (the paper's reward), when the "last" is, or their "fraction".

    Nothing for a wrong number of answers, whatever the mode.
    """

    mode: Literal["all", "last", "fraction"] = "all"
    name: str = "chain"

    async def score(self, episode: Episode) -> Score:
        right = episode.outcome.get("right")
        if right is None:
            return ungraded("right")
        value = {
            "all": float(all(right)),
            "last": float(right[-1]),
            "fraction": sum(right) / len(right),
        }[self.mode]
        checks = [Check(f"problem {j}", float(ok), ok) for j, ok in enumerate(right, start=1)]
        return Score(value if episode.outcome["counted"] else 0.0, checks)


@dataclass(slots=True, frozen=True)
class Horizon:
    """Where a policy gets lost.

    Attributes:
        by_position: share of right answers at each place of the chain.
        all_right: share of chains that are right throughout.
        expected: what that would be if places were independent, prod_i p_i.
    """

    by_position: list[float]
    all_right: float
    expected: float

    @property
    def gap(self) -> float:
        return self.expected - self.all_right


def horizon(episodes: Iterable[Episode], alone: Sequence[float] | None = None) -> Horizon:
    """Position-wise accuracy of chains of one length.

    Args:
        alone: accuracies on the same problems unchained, for `expected`; by default those at the
            places of the chain.
    """
    rows = [e.outcome["right"] for e in episodes if "right" in e.outcome]
    if not rows:
        raise ConfigError("no episode of a chain to measure")
    places = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
    return Horizon(places, sum(map(all, rows)) / len(rows), prod(alone or places))
