"""Paper 60, RAPO: forward KL from a reference that low rewards flatten, and an entropy bonus."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from agentrl.papers.kit.bandit import gradient, toy_group, toy_learner
from agentrl.papers.kit.properties import Property, measured
from agentrl.papers.registry import Measured

CLAIM = (
    "forward KL hardly punishes what the reference lacks and strongly pulls back what it had, and "
    "a low reward flattens the reference, which sets the policy free"
)
P, Q = (0.6, 0.3, 0.1), (0.2, 0.3, 0.5)


def run(seeds: Sequence[int]) -> Measured:
    """Estimators and their coefficients, the tempered reference, and the pull by reward."""
    import torch

    from agentrl.models.logprobs import tempered_logprobs

    found = [
        Property("mean of u log u - u + 1 is KL(p || q)", 0.49822, _mean("k3", "forward")),
        Property("forward coefficients at u = .1 1 3", (0.230, 0, -3.296), _pulls("k3", "forward")),
        Property("reverse ones", (0.9, 0, -2.0), _pulls("k3", "reverse")),
        Property("exact forward ones", (0.9, 0, -2.0), _pulls("k2", "forward")),
    ]
    for row in found[1:]:
        row.tolerance = 1e-3
    torch.manual_seed(0)
    head = torch.nn.Linear(4, 5).double()
    hidden, target = torch.randn(3, 4).double(), torch.tensor([0, 1, 2])
    flat = tempered_logprobs(hidden, head, target, torch.zeros(3).double())
    same = tempered_logprobs(hidden, head, target, torch.ones(3).double())
    full = head(hidden).log_softmax(-1).gather(1, target[:, None])[:, 0]
    found += [
        Property("phi = 0: uniform", [-np.log(5)] * 3, flat.tolist()),
        Property("phi = 1: the reference", full.tolist(), same.tolist()),
    ]
    for seed in seeds:
        free, held = (_pull_of_reference(seed, reward) for reward in (0.0, 1.0))
        found.append(
            Property(
                f"seed {seed}: pull {held:.3g} at reward 1 (policy = reference), {free:.3g} at 0",
                1.0,
                float(held < 1e-9 < free),
            )
        )
    return measured(found)


def _mean(estimator: str, direction: str) -> float:
    import torch

    from agentrl.learner import losses

    q, p = (torch.tensor(np.log(x)) for x in (Q, P))
    each = losses.divergence(q, p, estimator, direction, torch.ones(3).double())
    return float((each * torch.tensor(Q)).sum())


def _pulls(estimator: str, direction: str) -> list[float]:
    """d estimate / d log-probability at u = reference / policy = .1, 1, 3."""
    import torch

    from agentrl.learner import losses

    logp = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    target = torch.tensor(np.log([0.1, 1.0, 3.0]))
    value = losses.divergence(logp, target, estimator, direction, torch.ones(3).double())
    return torch.autograd.grad(value.sum(), logp)[0].tolist()


def _pull_of_reference(seed: int, reward: float) -> float:
    """Length of the gradient of RAPO's divergence alone, at a policy equal to its reference."""
    term = {"target": "tempered", "direction": "forward", "estimator": "full", "coefficient": 1.0}
    entropy = {"target": "uniform", "coefficient": 0.0}
    learner = toy_learner(
        seed, algorithm="rapo", divergences={"reference": term, "entropy": entropy}
    )
    return float(gradient(learner, [toy_group([reward] * 2)]).norm())
