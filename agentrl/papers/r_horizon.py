"""Paper 2, R-Horizon: chaining keeps every answer, and what is solved one by one is lost in a row.

A solver reads the composed text and errs at each problem with the same probability. Alone, problems
go wrong independently; chained, a wrong answer spoils all that are computed from it.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Iterator, Sequence

from agentrl.core import Episode, Task, derive_seed
from agentrl.environments.chain import (
    ChainEnvironment,
    ChainReward,
    arithmetic,
    chains,
    compose,
    horizon,
)
from agentrl.papers.kit.rollouts import converse, values
from agentrl.papers.registry import Measured

CLAIM = (
    "A solver without mistakes gets every composed answer; one with 10% mistakes falls short the "
    "longer the chain: its last answer is right as rarely as the whole chain."
)
PROBLEMS, CHAINS, MISTAKES = 1000, 300, 0.1
_LINK = re.compile(r"\[variable \d+\] = \[answer (\d+)\] ([+-]) (\d+)\. (.*)", re.DOTALL)


def run(seeds: Sequence[int]) -> Measured:
    return asyncio.run(_run(seeds))


async def _run(seeds: Sequence[int]) -> Measured:
    rows: list[list[str | int | float]] = []
    passed = True
    for seed in seeds:
        problems = list(arithmetic(PROBLEMS, seed=seed, terms=3))
        alone = [compose([p]) for p in problems]
        single = sum((await _played(alone, MISTAKES, seed))[1]) / PROBLEMS
        for length in (2, 4, 8):
            tasks = list(chains(problems, CHAINS, horizon=length, seed=seed))
            _, perfect = await _played(tasks, 0.0, seed)
            episodes, erring = await _played(tasks, MISTAKES, seed)
            found = horizon(episodes, alone=[single] * length)
            last = sum(await values(ChainReward("last"), episodes)) / CHAINS
            rows.append(
                [seed, length, sum(perfect) / CHAINS, found.expected, sum(erring) / CHAINS, last]
            )
            passed &= sum(perfect) == CHAINS
            passed &= abs(found.gap) < 0.12 and last < single - 0.5 * (single - found.expected)
    columns = ["seed", "horizon", "without mistakes", "expected", "all right", "last right"]
    return Measured(passed, columns, rows)


async def _played(
    tasks: Sequence[Task], mistakes: float, seed: int
) -> tuple[list[Episode], list[float]]:
    episodes = []
    for task in tasks:
        rng = random.Random(derive_seed(seed, "solver", task.id))
        text = "\n".join(
            f"Problem {i}: \\boxed{{{answer}}}"
            for i, answer in enumerate(_solve(task, mistakes, rng), 1)
        )
        episodes.append(await converse(ChainEnvironment(), task, [text]))
    return episodes, await values(ChainReward("all"), episodes)


def _solve(task: Task, mistakes: float, rng: random.Random) -> Iterator[int]:
    """Answers in order, each computed from the text and the answers before."""
    answers: list[int] = []
    for shown in task.payload["problems"]:
        text = shown.split(": ", 1)[1]
        if link := _LINK.match(text):
            value = answers[int(link[1]) - 1] + int(link[2] + link[3])
            text = re.sub(r"\[variable \d+\]", str(value), link[4])
        answers.append(_value(text) + (rng.random() < mistakes))
        yield answers[-1]


def _value(text: str) -> int:
    """The value of a text such as "What is 3 + -4 - 5?"."""
    parts = text.removeprefix("What is ").rstrip("?").split()
    value = int(parts[0])
    for sign, number in zip(parts[1::2], parts[2::2], strict=True):
        value += int(number) if sign == "+" else -int(number)
    return value
