"""Paper 7, LaSeR: the last token's self-reward, and a policy that is trained to give it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from agentrl.core import derive_seed
from agentrl.papers.kit.bandit import VOCAB, bandit_group, toy_group, toy_learner
from agentrl.papers.kit.toys import CharacterModel, episode, listed, table, wait
from agentrl.papers.registry import Measured
from agentrl.rewards.probability.self_reward import (
    LastToken,
    mixed_advantages,
    standardised,
    weighted_answer,
)

if TYPE_CHECKING:
    from agentrl.learner import Learner

CLAIM = (
    "The self-reward is 0.1 (log p + 23), both classes weigh the same in its loss, a group whose "
    "self-rewards are all equal keeps the verifier's advantages; trained on verdicts, a policy's "
    "self-reward of right answers rises above that of wrong ones."
)
UPDATES, SAMPLES = 60, 64
UNUSED = VOCAB - 1
# The toy's log-probabilities lie near -log 32, not at -23: r_s = 0.4 (log p - what it was).
LOSS = {"kind": "last_token", "token": UNUSED, "c_ref": None, "beta": 0.4}


def run(seeds: Sequence[int]) -> Measured:
    cases = []
    for logprob, wanted in ((-13.0, 1.0), (-23.0, 0.0), (-18.0, 0.5)):
        model = CharacterModel(lambda context, character, p=logprob: float(np.exp(p)))  # type: ignore[misc]
        found = wait(LastToken(model, token=ord("#")).score(episode(["the answer"])))
        cases.append((f"log p {logprob:g}", wanted, found.value))
    cases += _class_weights()
    verdicts = [1.0, 0.0, 0.0, 1.0]
    equal = mixed_advantages(verdicts, [0.5] * 4, [False] * 4)
    cases += listed("equal self-rewards", standardised(np.array(verdicts)).tolist(), equal.tolist())
    best = weighted_answer(["a", "b", "a"], [0.3, 0.5, 0.4])
    cases.append(("weighted vote takes a", 1.0, float(best == "a")))
    for seed in seeds:
        before, after = trained_gap(seed)
        said = f"seed {seed}: right minus wrong {before:.2f} -> {after:.2f}; rises to 0.5 and more"
        cases.append((said, 1.0, float(abs(before) < 0.2 and after > 0.5)))
    return table(cases)


def _class_weights() -> list[tuple[str, float, float]]:
    """Weights of the learner's loss for three right answers and five wrong ones."""
    from agentrl.learner.extensions.auxiliary import class_weights

    weights = class_weights([True] * 3 + [False] * 5)
    return [
        ("weight of correct", 4 / 3, weights[0]),
        ("of wrong", 0.8, weights[-1]),
        ("class totals differ by", 0.0, sum(weights[:3]) - sum(weights[3:])),
    ]


def trained_gap(seed: int) -> tuple[float, float]:
    """Mean self-reward of right minus that of wrong one-token answers, before and after training
    with the learner's auxiliary loss alone."""
    learner = toy_learner(
        seed,
        learning_rate=1e-2,
        channels={"outcome": {"weight": 0.0}},
        auxiliary={"self": {**LOSS, "coefficient": 1.0}},
    )
    rng = np.random.default_rng(derive_seed(seed, "laser"))
    before = _gap(learner)
    for _ in range(UPDATES):
        learner.step([bandit_group(learner, rng, SAMPLES)])
    return before, _gap(learner)


def _gap(learner: Learner) -> float:
    """Over all one-token answers, each once."""
    right = np.arange(VOCAB) % 8 == 0
    members = toy_group(right.astype(float).tolist(), [[t] for t in range(VOCAB)]).episodes
    rows = learner._asked(dict(enumerate(members)))
    learner.looks.fill(rows, "now", lambda batch: learner.trunk.logprobs(batch)[0])
    own = np.array([0.4 * float(r.now[0] - r.reference[0]) for r in rows])
    return float(own[right].mean() - own[~right].mean())
