"""Paper 40, DARL: a bounded bonus for answers that differ a little from the reference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from agentrl.papers.kit.toys import CharacterModel, episode, table, wait
from agentrl.papers.registry import Measured
from agentrl.rewards.probability.reference import Rlpr, deviation_bonus

CLAIM = (
    "rho(y*) + beta D [D <= rho(y*)/gamma]: .8005 for an own answer at .75, .8 for one at .5 or "
    ".9; the bonus never exceeds beta rho(y*)/gamma."
)


def _reward(own: float) -> float:
    """The reference G has .8, the policy's own answer O has `own`."""
    model = CharacterModel(lambda context, character: 0.8 if character == "G" else own)
    reward = Rlpr(model, format=0.0, debias=False, band=8.0)
    return wait(reward.score(episode(["z <answer>O</answer>"], reference={"answer": "G"}))).value


def run(seeds: Sequence[int]) -> Measured:
    cases = [
        ("own .75", 0.8005, _reward(0.75)),
        ("own .5", 0.8, _reward(0.5)),
        ("own .9", 0.8, _reward(0.9)),
    ]
    for seed in seeds:
        pairs = np.random.default_rng(seed).random((500, 2))
        over = max(deviation_bonus(r, o) - 0.01 * r / 8 for r, o in pairs)
        least = min(deviation_bonus(r, o) for r, o in pairs)
        cases.append((f"seed {seed}: within its bound", 1.0, float(over <= 1e-12 and least >= 0)))
    return table(cases, tolerance=1e-5)
