"""Paper 26, RLPR: the reference's mean token probability, debiased, and its group filter."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from agentrl.papers.kit.toys import CharacterModel, episode, group, table, wait
from agentrl.papers.registry import Measured
from agentrl.rewards.probability.contexts import reduce_logprobs
from agentrl.rewards.probability.reference import Rlpr
from agentrl.rewards.transforms import transform_rewards
from agentrl.rewards.transforms.filters import StdFilter, moved

CLAIM = (
    "max(0, f(a*|x,z) - f(a*|x)) with f the mean token probability, 0.9 of it and 0.1 of the "
    "format; groups with less spread than kappa times its moving mean are left out."
)


def _reward(with_trace: float, without: float) -> float:
    model = CharacterModel(lambda context, _: with_trace if "because" in context else without)
    e = episode(["because <answer>mine</answer>"], reference={"answer": "gold"})
    return wait(Rlpr(model).score(e)).value


def _kept(kappa: float, spread: float) -> float:
    """Whether a group of std `spread` stays when the moving mean is 0.2."""
    transform = StdFilter(kappa=kappa, begin=1, filter_from=2, ratio=1.0)
    for half in (0.2, spread):
        members = [episode(["x"], seed=i, reward=0.5 + s * half) for i, s in enumerate((1, -1))]
        transform_rewards([transform], [group(members)])
    return float(all(e.judged for e in members))


def run(seeds: Sequence[int]) -> Measured:
    logprobs = np.log([0.9, 0.1])
    return table(
        [
            ("mean of .9, .1", 0.5, reduce_logprobs(logprobs, "mean_exp")),
            ("product", 0.09, reduce_logprobs(logprobs, "exp_sum")),
            ("geometric mean", 0.3, reduce_logprobs(logprobs, "exp_mean")),
            ("f .5, base .2, format right", 0.37, _reward(0.5, 0.2)),
            ("f below its base", 0.1, _reward(0.2, 0.5)),
            ("group std .09 at threshold .1", 0.0, _kept(0.5, 0.09)),
            ("group std .11", 1.0, _kept(0.5, 0.11)),
            ("moving mean of .2 and .4", 0.202, moved(0.2, 0.4, 0.99)),
        ]
    )
