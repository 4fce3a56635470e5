"""Paper 56: likelihoods of the reference as rewards, and which still rank long ones."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from agentrl.learner.credit import compare
from agentrl.learner.settings import Channel
from agentrl.papers.kit.toys import CharacterModel, episode, listed, table, wait
from agentrl.papers.registry import Measured
from agentrl.rewards.probability.contexts import Reduce
from agentrl.rewards.probability.reference import ReferenceLikelihood

CLAIM = (
    "Two tokens at one half: Prob .25, AvgProb .5, LogProb -1.386, AvgLogProb -.693; on "
    "references of 300 tokens Prob is one number for all traces to float precision, LogProb still "
    "ranks them."
)

RANKED: tuple[Reduce, ...] = ("exp_sum", "sum")


def _reward(reduce: Reduce, p: float, length: int) -> float:
    model = CharacterModel(lambda context, character: p)
    e = episode(["trace"], reference={"answer": "x" * length})
    return wait(ReferenceLikelihood(model, reduce).score(e)).value


def run(seeds: Sequence[int]) -> Measured:
    half = {
        "exp_sum": 0.25,
        "mean_exp": 0.5,
        "sum": 2 * math.log(0.5),
        "mean": math.log(0.5),
        "ppl": 2.0,
    }
    cases = [(r, wanted, _reward(r, 0.5, 2)) for r, wanted in half.items()]  # type: ignore[arg-type]
    cases.append(("mean over 200 tokens at .7", math.log(0.7), _reward("mean", 0.7, 200)))
    channel = Channel(baseline="leave_one_out")
    pair = compare(np.array([1.0, 3.0]), np.zeros(2, np.int64), channel)
    cases += listed("leave-one-out of 1, 3", [-2, 2], pair.tolist())
    for seed in seeds:
        p = np.random.default_rng(seed).uniform(0.02, 0.08, 6)
        traces = {r: [_reward(r, x, 300) for x in p] for r in RANKED}
        spread = float(np.array(traces["exp_sum"], np.float32).std())
        order = np.argsort(traces["sum"]).tolist() == np.argsort(p).tolist()
        cases.append((f"seed {seed}: spread of Prob", 0.0, spread))
        cases.append((f"seed {seed}: LogProb ranks", 1.0, float(order)))
    return table(cases)
