"""Paper 54: behaviour specified as constraints on how often something happens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from agentrl.papers.kit.toys import episode, group, table
from agentrl.papers.registry import Measured
from agentrl.rewards.transforms import transform_rewards
from agentrl.rewards.transforms.constraints import Constraints

CLAIM = (
    "Multipliers are positive and sum to 1, rise while a rate is over its limit and fall under "
    "it; a policy between reward 1 at cost 1 and reward .6 at cost 0 settles at the cost rate "
    "that was asked for."
)
LIMIT = 0.25


def _settled(seed: int) -> tuple[float, float]:
    """(mean rate over all rounds, smallest multiplier seen) of a two-armed policy with exact
    gradients of the transformed rewards; arm 1 breaks the constraint."""
    constraints = Constraints({"bad": LIMIT}, eta=0.3)
    rng = np.random.default_rng(seed)
    logit, rates, least = 0.0, [], 1.0
    for _ in range(300):
        p = 1 / (1 + np.exp(-logit))
        rates.append(p)
        drawn = rng.random(40) < p
        members = [
            episode(["x"], seed=i, reward=1.0 if bad else 0.6, outcome={"bad": bool(bad)})
            for i, bad in enumerate(drawn)
        ]
        transform_rewards([constraints], [group(members)])
        pays = [
            [e.reward for e, b in zip(members, drawn, strict=True) if b == side]
            for side in (True, False)
        ]
        if all(pays):
            logit += 4.0 * p * (1 - p) * (np.mean(pays[0]) - np.mean(pays[1]))
        least = min(least, *constraints.multipliers().values())
    return float(np.mean(rates)), least


def run(seeds: Sequence[int]) -> Measured:
    one = Constraints({"bad": 0.1}, eta=0.5)
    one.update({"bad": 0.3})
    cases = [("z after rate .3 at limit .1", 0.5 * 0.2, one.z["bad"])]
    one.update({"bad": 0.0})
    cases.append(("then satisfied", 0.5 * 0.2 - 0.5 * 0.1, one.z["bad"]))
    cases.append(("multipliers sum to", 1.0, sum(one.multipliers().values())))
    for _ in range(200):
        one.update({"bad": 0.0})
    cases.append(("the reward's, long satisfied", 1.0, float(one.multipliers()["reward"] > 0.99)))
    for seed in seeds:
        rate, least = _settled(seed)
        cases.append(
            (f"seed {seed}: within .05 of the limit", 1.0, float(abs(rate - LIMIT) < 0.05))
        )
        cases.append((f"seed {seed}: multipliers positive", 1.0, float(least > 0)))
    return table(cases)
