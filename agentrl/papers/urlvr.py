"""Paper 27, unsupervised RLVR: majority votes sharpen what is likely already, right or wrong."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from agentrl.papers.kit.toys import episode, group, listed, table, wait
from agentrl.papers.registry import Measured
from agentrl.rewards.diagnostics.monitors import CollapseMonitor
from agentrl.rewards.group.base import judge_groups
from agentrl.rewards.group.vote import MajorityVote, majority
from agentrl.rewards.probability.certainty import self_certainty, sharpened, token_entropy

CLAIM = (
    "One round of majority reward multiplies the odds by e^(1/beta), so a wrong initial majority "
    "wins; a monitor finds the step of collapse, and a true verifier does not collapse."
)
ROUNDS = 12


def _iterated(p_right: float, truth: bool, seed: int) -> tuple[float, int | None]:
    """(last share of right answers, collapse step) of a two-armed policy that is re-weighted by
    e^reward each round, as its optimum under KL weight 1 is; rewards are ours on 120 drawn
    answers."""
    rng, monitor = np.random.default_rng(seed), CollapseMonitor("truth")
    for _ in range(ROUNDS):
        right = rng.random(120) < p_right
        members = [
            episode(["yes" if r else "no"], seed=i, reward=float(r)) for i, r in enumerate(right)
        ]
        for e in members:
            e.scores["truth"] = e.scores["reward"]
        if not truth:
            wait(judge_groups(MajorityVote(), [group(members)]))
        monitor.watch(members)
        pays = [
            np.mean([e.reward for e in members if (e.turns[0].text == "yes") == side] or [0.0])
            for side in (True, False)
        ]
        up = p_right * math.exp(pays[0])
        p_right = up / (up + (1 - p_right) * math.exp(pays[1]))
    return p_right, monitor.collapsed


def run(seeds: Sequence[int]) -> Measured:
    p, series = 0.4, []
    for _ in range(5):
        p = sharpened(p)
        series.append(p)
    cases = listed("p = .4 sharpened", [0.6444, 0.8313, 0.9305, 0.9733, 0.9900], series)
    cases += listed("votes a, a, b", [1, 1, 0], majority(["a", "a", "b"])[0])
    cases.append(("a tie is noted", 1.0, float(majority(["a", "b"])[1])))
    uniform = np.full((3, 8), 1 / 8)
    cases += [
        ("certainty of uniform", 0.0, self_certainty(uniform)),
        ("its entropy", math.log(8), token_entropy(uniform)),
    ]
    for seed in seeds:
        wrong, collapsed = _iterated(0.3, False, seed)
        right, sound = _iterated(0.3, True, seed)
        cases += [
            (f"seed {seed}: votes end wrong", 1.0, float(wrong < 0.01)),
            (f"seed {seed}: collapse found", 1.0, float(collapsed is not None)),
            (f"seed {seed}: a verifier ends right", 1.0, float(right > 0.99)),
            (f"seed {seed}: without collapse", 1.0, float(sound is None)),
        ]
    return table(cases)
