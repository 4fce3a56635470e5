"""Paper 7, LaSeR: the last token's self-reward, its balanced loss and its share of advantages."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from agentrl.papers.kit.toys import CharacterModel, episode, listed, table, wait
from agentrl.papers.registry import Measured
from agentrl.rewards.probability.self_reward import (
    LastToken,
    class_weights,
    mixed_advantages,
    self_reward_loss,
    standardised,
    weighted_answer,
)

CLAIM = (
    "The self-reward is 0.1 (log p + 23), both classes weigh the same in its loss, and a group "
    "whose self-rewards are all equal keeps the verifier's advantages."
)


def run(seeds: Sequence[int]) -> Measured:
    cases = []
    for logprob, wanted in ((-13.0, 1.0), (-23.0, 0.0), (-18.0, 0.5)):
        model = CharacterModel(lambda context, character, p=logprob: float(np.exp(p)))  # type: ignore[misc]
        found = wait(LastToken(model, token=ord("#")).score(episode(["the answer"])))
        cases.append((f"log p {logprob:g}", wanted, found.value))
    weights = class_weights([True] * 3 + [False] * 5, [True] * 8)
    cases += [("weight of correct", 4 / 3, weights[0]), ("of wrong", 0.8, weights[-1])]
    cases.append(("class totals differ by", 0.0, sum(weights[:3]) - sum(weights[3:])))
    verdicts = [1.0, 0.0, 0.0, 1.0]
    equal = mixed_advantages(verdicts, [0.5] * 4, [False] * 4)
    cases += listed("equal self-rewards", standardised(np.array(verdicts)).tolist(), equal.tolist())
    cases.append(
        ("perfect self-reward's loss", 0.0, self_reward_loss(verdicts, verdicts, [True] * 4))
    )
    best = weighted_answer(["a", "b", "a"], [0.3, 0.5, 0.4])
    cases.append(("weighted vote takes a", 1.0, float(best == "a")))
    return table(cases)
