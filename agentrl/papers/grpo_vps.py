"""Paper 35, GRPO-VPS: belief in the right answer, turn by turn."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from agentrl.papers.kit.toys import CharacterModel, episode, listed, table, wait
from agentrl.papers.registry import Measured
from agentrl.rewards.probability.belief import BeliefProgress, progress
from agentrl.rewards.process.segments import entropy_bounds

CLAIM = (
    "Beliefs .1, .3, .2, .8 make progress .2, -.1, .6, which telescopes; a harmful turn is "
    "negative in a winning rollout too; twelve cut points at four a segment make three segments."
)
BELIEFS = {0: 0.1, 1: 0.3, 2: 0.2, 3: 0.8}


def run(seeds: Sequence[int]) -> Measured:
    model = CharacterModel(lambda context, _: BELIEFS[context.count("turn")])
    e = episode(["turn a", "turn b", "turn c"], reference={"answer": "gold"})
    found = wait(BeliefProgress(model).score(e))
    cases = listed("progress", [0.2, -0.1, 0.6], found.steps)
    cases.append(("telescopes to", 0.7, found.value))
    for seed in seeds:
        beliefs = np.random.default_rng(seed).random(9).tolist()
        cases.append((f"seed {seed}: sum", beliefs[-1] - beliefs[0], sum(progress(beliefs))))
        where = np.random.default_rng(seed).choice(100, 12, replace=False)
        bounds = entropy_bounds([i in where for i in range(100)], 4)
        counts = [sum(a <= w < b for w in where) for a, b in itertools.pairwise(bounds)]
        cases += listed(f"seed {seed}: cut points", [4, 4, 4], counts)
    cases.append(("segments without cut points", 1.0, len(entropy_bounds([False] * 9, 4)) - 1))
    return table(cases)
