"""Paper 31, SDPO: the policy that was told what went wrong teaches the one that was not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from agentrl.core import Group, Origin, SegmentBuilder
from agentrl.models.logprobs import distance, with_tail
from agentrl.papers.kit.bandit import PROMPT, gradient, toy_group, toy_learner
from agentrl.papers.kit.properties import Property, measured
from agentrl.papers.registry import Measured

CLAIM = (
    "A teacher that is told nothing gives no gradient; the coefficient of a sampled token is log "
    "pi_T - log pi; JSD(1/2) of (.7 .2 .1) and (.1 .2 .7) is .2531; the tail bucket completes the "
    "top to 1; the teacher moves by .05."
)
RATE = 0.05


def run(seeds: Sequence[int]) -> Measured:
    return measured(p for seed in seeds for p in _properties(seed))


def _properties(seed: int) -> list[Property]:
    p, q = (
        torch.tensor([[*x]], dtype=torch.float64).log() for x in ((0.7, 0.2, 0.1), (0.1, 0.2, 0.7))
    )
    plain, told = toy_group([1.0, 0.0]), _told(toy_group([1.0, 0.0]))
    gap, slope = _coefficient(told, seed)
    moved, wanted = _followed(told, seed)
    largest = float(distance(p, q, "jsd"))
    return [
        Property("JSD(1/2)", 0.2531, largest, 2e-4),
        Property("and it is at most ln 2", 1, largest <= math.log(2)),
        Property("top 2 and the tail", 1, float(with_tail(p[:, :2]).exp().sum())),
        Property(
            "gradient without anything told", 0, float(gradient(_student(seed), [plain]).norm())
        ),
        Property(
            "gradient where something was told",
            1,
            float(gradient(_student(seed), [told]).norm()) > 1e-6,
        ),
        Property("coefficient of a sampled token", gap, slope, 1e-5),
        Property("the teacher after a step, off by", 0, float(np.abs(wanted - moved).max()), 1e-9),
    ]


def _student(seed: int, learning_rate: float = 0.0) -> Any:
    teacher = {"target": "hinted", "estimator": "full", "direction": "jsd", "coefficient": 1.0}
    return toy_learner(
        seed,
        learning_rate=learning_rate,
        ratio={"hints": "strip"},
        channels={"outcome": {"weight": 0.0}},
        reference={"kind": "ema", "rate": RATE},
        divergences={"teacher": teacher},
    )


def _told(group: Group, feedback: Sequence[int] = (9, 8, 7)) -> Group:
    """The same answers with feedback in the context, which the sampler did not see."""
    for episode in group.episodes:
        old = episode.segments[0]
        build = SegmentBuilder()
        build.append(PROMPT, Origin.PROMPT, -1)
        build.append(feedback, Origin.HINT, -1)
        n = len(PROMPT)
        build.append_sampled(
            old.tokens[n:].tolist(), old.logprobs[n:].tolist(), [0] * len(old.tokens[n:]), 0
        )
        episode.segments = [build.build()]
        episode.guidance = {"placement": "teacher_only"}
    return group


def _coefficient(told: Group, seed: int) -> tuple[float, float]:
    """log pi_T - log pi of the first answer's first token, and the slope on its log-probability
    that the sampled estimator gives."""
    from agentrl.learner.losses import divergence

    subject = _student(seed)
    rows = subject._rows(told.episodes)
    mates = [r.informed for r in rows]
    for some in (rows, mates):
        subject.looks.fill(some, "now", lambda batch: subject.trunk.logprobs(batch)[0])
    gap = float(mates[0].now[0] - rows[0].now[0])
    logp = torch.tensor([rows[0].now[0]], dtype=torch.float64, requires_grad=True)
    target = torch.tensor([mates[0].now[0]], dtype=torch.float64)
    loss = divergence(logp, target, "k2", "reverse", torch.ones(1))
    (slope,) = torch.autograd.grad(loss.sum(), logp)
    return gap, -float(slope)


def _followed(told: Group, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The teacher's first weights after a step, and rate * policy + (1 - rate) * teacher."""
    subject = _student(seed, learning_rate=1e-2)
    before = next(iter(subject.reference.trunk.model.parameters())).clone()
    subject.step([told])
    after = next(iter(subject.reference.trunk.model.parameters()))
    policy = next(iter(subject.policy.model.parameters())).detach()
    wanted = (1 - RATE) * before + RATE * policy
    return after.numpy().ravel(), wanted.numpy().ravel()
