"""Paper 39, PACS: classify each answer by its log ratio against the others'."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agentrl.papers.kit.bandit import cosine, gradient, toy_group, toy_learner
from agentrl.papers.kit.properties import Property, measured
from agentrl.papers.registry import Measured

CLAIM = (
    "at the policy that sampled, supervised classification of answers is the leave-one-out policy "
    "gradient; the prediction error takes it away as classes come apart"
)


def run(seeds: Sequence[int]) -> Measured:
    """Gradients by score, and whole gradients on every seed's policy."""
    from agentrl.learner import LearnerSettings

    link = LearnerSettings(algorithm="pacs").link
    assert link is not None
    plain = link.model_copy(update={"balance": "none"})
    found = [
        Property(
            "labels 1 0 0 1",
            (-1 / 6, 1 / 6, 1 / 6, -1 / 6),
            score_gradient([0] * 4, [1, 0, 0, 1], plain),
        ),
        Property(
            "labels 1 0 0 0, balanced",
            (-1 / 3, 1 / 9, 1 / 9, 1 / 9),
            score_gradient([0] * 4, [1, 0, 0, 0], link),
        ),
        Property("one label", (0,) * 4, score_gradient([0] * 4, [1] * 4, link)),
        Property("apart", (0,) * 4, score_gradient([60, -20, -20, -20], [1, 0, 0, 0], link)),
    ]
    group = toy_group([1.0, 0.0, 0.0, 1.0])
    rloo = {
        "algorithm": "rloo",
        "aggregation": {"kind": "constant", "constant": 1},
        "ratio": {"correction": "none"},
    }
    for seed in seeds:
        pacs = gradient(toy_learner(seed, algorithm="pacs"), [group])
        other = gradient(toy_learner(seed, **rloo), [group])
        found += [
            Property(f"seed {seed}: cosine with leave-one-out", 1.0, cosine(pacs, other), 1e-9),
            Property(f"seed {seed}: length against it", 1.0, float(pacs.norm() / other.norm())),
        ]
    return measured(found)


def score_gradient(scores: Sequence[float], labels: Sequence[int], link: Any) -> list[float]:
    """d loss / d score of one group, through the learner's link loss."""
    import torch

    from agentrl.learner.link import link_loss

    score = torch.tensor([float(s) for s in scores], dtype=torch.float64, requires_grad=True)
    group = torch.zeros(len(scores), dtype=torch.long)
    loss = link_loss(score, torch.tensor(labels).bool(), group, link)
    return [float(g) for g in torch.autograd.grad(loss, score)[0]]
