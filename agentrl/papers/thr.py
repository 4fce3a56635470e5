"""Paper 48, THR: weigh tokens by what raising them does to the group's right answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from agentrl.papers.kit.bandit import gradient, toy_group, toy_learner
from agentrl.papers.kit.properties import Property, measured
from agentrl.papers.registry import Measured

if TYPE_CHECKING:
    import torch

CLAIM = (
    "a token's hidden reward tells whether its update raises the group's right answers; weights by "
    "its sign lean to exploitation (p > 0) or exploration (p < 0), and p = 0 is plain GRPO"
)


def run(seeds: Sequence[int]) -> Measured:
    """The numbers of the source, and the field on whole gradients of every seed's policy."""
    import torch

    from agentrl.learner.extensions.influence import emphasis, influence
    from agentrl.learner.settings import HiddenReward

    p = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    g = torch.stack([torch.eye(3).double()[i] - p for i in (0, 0, 1)])
    right = torch.tensor([True, False, False])
    s = influence(g, torch.ones(3, 1).double(), right).tolist()
    found = [Property("influence of the same token, of another", (0.38, -0.42), s[1:])]
    torch.manual_seed(0)
    g, h = torch.randn(6, 4).double(), torch.randn(6, 3).double()
    mine = torch.tensor([1, 0, 1, 0, 0, 1]).bool()
    slow = [
        float(sum((a @ b) * (x @ y) for b, y in zip(g[mine], h[mine], strict=True)))
        for a, x in zip(g, h, strict=True)
    ]
    found.append(Property("matrix form = double sum", slow, influence(g, h, mine).tolist()))
    for share, eta in ((0.5, 0.0), (0.25, 0.5), (0.1, 0.8)):
        advantage = np.where(np.arange(20) < 20 * share, 1.0, -1.0)
        strong = np.where(advantage > 0, 1.0, 2.0)
        factor = emphasis(strong, advantage, np.arange(20), HiddenReward(kind="nthr"))
        found.append(Property(f"NTHR at {share} right", eta, float(factor[-1])))
    for seed in seeds:
        plain, off, more, less = (_gradient(seed, p) for p in (None, 0.0, 0.2, -0.2))
        found += [
            Property(f"seed {seed}: p = 0", 0.0, float((plain - off).norm()), 1e-12),
            Property(
                f"seed {seed}: p and -p are symmetric",
                0.0,
                float((more + less - 2 * plain).norm() / plain.norm()),
                1e-5,
            ),
            Property(
                f"seed {seed}: p > 0 and p < 0 move right answers apart",
                1.0,
                float(_toward_right(seed, more) > _toward_right(seed, less)),
            ),
        ]
    return measured(found)


def _gradient(seed: int, p: float | None) -> torch.Tensor:
    hidden = None if p is None else {"p": p, "dominance": 0.0}
    settings = {"algorithm": "thr", "field": {"hidden": hidden}}
    return gradient(toy_learner(seed, **settings), [toy_group([1.0, 0.0, 0.0])])


def _toward_right(seed: int, step: torch.Tensor) -> float:
    """How fast a step down this gradient raises the log-probability of the right answer."""
    psr = gradient(toy_learner(seed, algorithm="psr"), [toy_group([1.0, 0.0, 0.0])])
    return float(step @ psr)
