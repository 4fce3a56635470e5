"""Paper 22, RLVR across domains: a verifier's one token and its probability; batch z-scores."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from agentrl.papers.kit.toys import episode, group, listed, table, wait
from agentrl.papers.registry import Measured
from agentrl.rewards.diagnostics.benchmark import Confusion
from agentrl.rewards.judges.scripted import ScriptedChat
from agentrl.rewards.judges.verify import SoftVerifier
from agentrl.rewards.judges.votes import decide
from agentrl.rewards.transforms import transform_rewards
from agentrl.rewards.transforms.scale import ZScore
from agentrl.rewards.verifiers import Item

CLAIM = (
    "The soft reward is phi(1) when the verdict is 1 and 1 - phi(0) when it is 0; what is neither"
    " abstains (or is 0, as in the paper); the z-score of equal rewards is 0."
)


def _soft(text: str, p: float, unread: str = "abstain", soft: bool = True) -> tuple[float, bool]:
    judge = ScriptedChat(lambda question, seed: (text, {text: math.log(p)}))
    found = wait(SoftVerifier(judge, soft, unread).verify(Item("q", "work\n42\n", "42")))
    return found.value, found.abstained


def _z(rewards: Sequence[float]) -> list[float]:
    members = group([episode(["x"], seed=i, reward=r) for i, r in enumerate(rewards)])
    transform_rewards([ZScore()], [members])
    return [e.reward for e in members.episodes]


def run(seeds: Sequence[int]) -> Measured:
    cases = [
        ("1 with .9", 0.9, _soft("1", 0.9)[0]),
        ("0 with .8", 0.2, _soft("0", 0.8)[0]),
        ("garbage abstains", 1.0, float(_soft("maybe", 0.9)[1])),
        ("garbage, as in the paper", 0.0, _soft("maybe", 0.9, "wrong")[0]),
        ("binary is its rounding", round(_soft("1", 0.9)[0]), _soft("1", 0.9, soft=False)[0]),
        ("votes 1, 0", 1.0, decide([True, False])),
    ]
    cases += listed("z of 1, 1, 1", [0, 0, 0], _z([1, 1, 1]))
    for seed in seeds:
        drawn = np.random.default_rng(seed).random(8)
        wanted = (drawn - drawn.mean()) / drawn.std()
        cases += listed(f"seed {seed}: z", wanted.tolist(), _z(drawn.tolist()))
    agreed = Confusion(tp=8, fp=1, fn=2, tn=9)
    cases.append(("kappa of 8, 1, 2, 9", 0.70, agreed.kappa))
    return table(cases)
