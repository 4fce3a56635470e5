"""Paper 55, VMR: open questions as multiple choice, where only shuffling makes the letter honest.

A chooser learns by reward from hidden qualities of responses it has seen, plus a liking for each
slot. With the better response always first it learns the slot; shuffled, it learns the qualities.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import numpy as np

from agentrl.core import Task, derive_seed
from agentrl.environments.choices import (
    LETTERS,
    ChoiceEnvironment,
    Preference,
    as_choice,
)
from agentrl.papers.kit.rollouts import converse, values
from agentrl.papers.registry import Measured
from agentrl.rewards.verifiers.base import Verified
from agentrl.rewards.verifiers.text import Choice

CLAIM = (
    "Shuffled by (seed, id), letters are uniform and an always-A policy earns half; a chooser "
    "trained on shuffled pairs orders unseen ones, one trained with the better first does not."
)
LETTER = Verified(Choice(), extract="line", reference="letter")
PAIRS, TEST, TRAITS, RATE = 400, 200, 3, 0.3


def run(seeds: Sequence[int]) -> Measured:
    return asyncio.run(_run(seeds))


async def _run(seeds: Sequence[int]) -> Measured:
    rows: list[list[str | int | float]] = []
    passed = True
    for seed in seeds:
        train, test = _pairs(PAIRS, seed, "train"), _pairs(TEST, seed, "test")
        shuffled = [as_choice(pair, seed=seed) for pair in train]
        held_out = [as_choice(pair, seed=seed) for pair in test]
        share = sum(task.reference["letter"] == "A" for task in shuffled) / PAIRS
        always = await _earned(held_out, ["A"] * TEST)
        learned = await _earned(held_out, _choose(held_out, await _train(shuffled, seed)))
        fixed = await _train([_better_first(task) for task in shuffled], seed)
        slot = await _earned(held_out, _choose(held_out, fixed))
        rows.append([seed, share, always, learned, slot])
        passed &= abs(share - 0.5) < 0.1 and abs(always - 0.5) < 0.12
        passed &= learned > 0.85 and slot < learned - 0.15
    columns = ["seed", "A is right", "always A", "trained shuffled", "trained better-first"]
    return Measured(passed, columns, rows)


def _pairs(count: int, seed: int, split: str) -> list[Preference]:
    """Responses are numbers in words; the better one has the larger sum of them."""
    rng = random.Random(derive_seed(seed, "vmr", split))
    pairs: list[Preference] = []
    while len(pairs) < count:
        one, two = ([rng.randint(0, 9) for _ in range(TRAITS)] for _ in range(2))
        if sum(one) > sum(two):
            texts = [" ".join(map(str, numbers)) for numbers in (one, two)]
            pairs.append(Preference(f"{split}-{len(pairs)}", "?", texts[0], (texts[1],)))
    return pairs


def _better_first(task: Task) -> Task:
    options = list(task.payload["options"])
    options.insert(0, options.pop(LETTERS.index(task.reference["letter"])))
    return Task(task.id, task.prompt, payload={"options": options}, reference={"letter": "A"})


def _features(task: Task) -> np.ndarray:
    """float[options, traits + 1]: the numbers of each response, and whether it stands first."""
    numbers = [[int(x) / 9 for x in text.split()] for text in task.payload["options"]]
    return np.asarray([[*row, float(i == 0)] for i, row in enumerate(numbers)])


async def _train(tasks: Sequence[Task], seed: int) -> np.ndarray:
    """REINFORCE with the choice reward on a linear softmax chooser; its weights."""
    rng = np.random.default_rng(derive_seed(seed, "chooser"))
    weights = np.zeros(TRAITS + 1)
    for task in tasks:
        x = _features(task)
        p = np.exp(x @ weights)
        p /= p.sum()
        choice = int(rng.choice(len(p), p=p))
        episode = await converse(ChoiceEnvironment(), task, [f"Answer: {LETTERS[choice]}"])
        (reward,) = await values(LETTER, [episode])
        weights += RATE * (reward - 0.5) * (x[choice] - p @ x)
    return weights


def _choose(tasks: Sequence[Task], weights: np.ndarray) -> list[str]:
    return [LETTERS[int(np.argmax(_features(task) @ weights))] for task in tasks]


async def _earned(tasks: Sequence[Task], letters: Sequence[str]) -> float:
    episodes = [
        await converse(ChoiceEnvironment(), task, [f"Answer: {letter}"])
        for task, letter in zip(tasks, letters, strict=True)
    ]
    found = await values(LETTER, episodes)
    return sum(found) / len(found)
