"""Paper 24, self-aligned reward: how much less perplexing an answer is with its question."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from agentrl.papers.kit.toys import CharacterModel, episode, listed, table, wait
from agentrl.papers.registry import Measured
from agentrl.rewards.group.length import efficient, pruner
from agentrl.rewards.probability.aligned import SelfAligned

CLAIM = (
    "(ppl(y) - ppl(y|x)) / ppl(y), clipped at -1: 0.5 for 4 against 2, 0 for equal ones, and "
    "filler that any question could get is worth nothing."
)


def _reward(alone: float, given: float) -> float:
    model = CharacterModel(lambda context, character: 1 / alone)
    return wait(SelfAligned(model).score(episode(["an answer"], logprob=-math.log(given)))).value


def run(seeds: Sequence[int]) -> Measured:
    cases = [
        ("4 alone, 2 with the question", 0.5, _reward(4, 2)),
        ("equal", 0.0, _reward(3, 3)),
        ("4 alone, 10 with it", -1.0, _reward(4, 10)),
    ]
    for seed in seeds:
        given = np.sort(np.random.default_rng(seed).uniform(1, 8, 20))
        values = [_reward(5, g) for g in given]
        falls = all(a > b for a, b in itertools.pairwise(values) if b > -1)
        cases.append((f"seed {seed}: falls with ppl(y|x)", 1.0, float(falls)))
    cases += listed("pruner of 50, 100", [0.5, -0.25], pruner(np.array([50, 100])).tolist())
    alone = efficient(np.array([50, 100]), np.array([True, False]))
    cases += listed("efficient with one right", [0, 0], alone.tolist())
    return table(cases)
