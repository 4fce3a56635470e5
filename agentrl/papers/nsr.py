"""Paper 68, RLVR decomposed: learn from wrong answers only, right ones only, or weigh them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from agentrl.papers.kit.bandit import (
    VOCAB,
    advantages,
    answer_chances,
    bandit_group,
    cosine,
    entropy,
    gradient,
    toy_group,
    toy_learner,
)
from agentrl.papers.kit.properties import Property, measured
from agentrl.papers.registry import Measured

CLAIM = (
    "pushing wrong answers down (NSR) hands their probability to the other answers in proportion "
    "to the prior, and keeps more entropy than pushing right ones up (PSR)"
)
RATE, KNOWN, STEPS, SAMPLES = 3e-3, 80, 80, 8


def run(seeds: Sequence[int]) -> Measured:
    """Which samples each setting uses, the logits' gradient, and entropy on a bandit with four
    right answers, trained on every seed's policy."""
    group = toy_group([1.0, 0.0, 0.0])
    slope = logit_gradient([2.0, 1.0, 0.0], 0)
    found = [
        Property("advantages", (1.0, -1.0, -1.0), advantages(group, algorithm="nsr")),
        Property("gradient of the logits", (-0.3348, 0.2447, 0.0900), slope, 1e-3),
        Property(
            "... of other tokens as their prior",
            float(np.e),
            slope[1] / slope[2] if slope[2] else 0.0,
        ),
        Property("... of a certain token", (0.0, 0.0, 0.0), logit_gradient([60.0, 0.0, 0.0], 0)),
    ]
    for seed in seeds:
        parts = {n: gradient(toy_learner(seed, algorithm=n), [group]) for n in ("nsr", "psr")}
        both = gradient(toy_learner(seed, algorithm="w_reinforce"), [group])
        mix = 0.1 / 3 * parts["psr"] + 2 / 3 * parts["nsr"]
        ends = {name: entropy_after(name, seed) for name in ("nsr", "psr")}
        found += [
            Property(f"seed {seed}: weighted REINFORCE is their sum", 1.0, cosine(both, mix), 1e-9),
            Property(
                f"seed {seed}: entropy {ends['nsr']:.2f} (NSR) over {ends['psr']:.2f} (PSR)",
                1.0,
                float(ends["nsr"] > ends["psr"]),
            ),
        ]
    return measured(found)


def logit_gradient(logits: Sequence[float], sampled: int) -> list[float]:
    """Where one step of NSR on a sampled token moves the logits, through the learner's loss."""
    import torch

    from agentrl.learner import LearnerSettings, losses

    s = LearnerSettings(algorithm="nsr")
    z = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
    logp = z.log_softmax(0)[sampled : sampled + 1]
    ratio = losses.policy_ratio(logp, logp.detach(), torch.zeros(1, dtype=torch.long), "token")
    wrong = torch.tensor([-1.0], dtype=torch.float64)
    loss = s.field.negative * losses.policy_loss(ratio, logp, wrong, s.coefficient)
    return [-float(g) for g in torch.autograd.grad(loss.sum(), z)[0]]


def entropy_after(algorithm: str, seed: int) -> float:
    """Entropy of the answers of a policy that knows four right ones, after more training.

    Right answers drawn by chance drive PSR towards fewer of them; NSR has nothing to do there.
    """
    learner = toy_learner(seed, algorithm=algorithm, learning_rate=RATE)
    right = toy_group([1.0] * 4, [[t] for t in range(0, VOCAB, 8)])
    for _ in range(KNOWN):
        learner.imitate(right.episodes)
    rng = np.random.default_rng(seed)
    for _ in range(STEPS):
        learner.step([bandit_group(learner, rng, SAMPLES)])
    return entropy(answer_chances(learner))
