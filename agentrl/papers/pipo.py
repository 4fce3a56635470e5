"""Paper 28, PIPO: look back at the last update, confirm it if it helped, undo it if it hurt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from agentrl.core import Group, Task
from agentrl.papers.kit.bandit import (
    advantages,
    cosine,
    drawn_by,
    gradient,
    toy_group,
    toy_learner,
)
from agentrl.papers.kit.properties import Property, measured
from agentrl.papers.registry import Measured

if TYPE_CHECKING:
    import torch

CLAIM = (
    "the standardised change of the mean reward, damped when it falls, weighs one more step on the "
    "batch that caused it; an update that did harm is moved against"
)
HISTORY = [0.1, 0.2, 0.3, 0.4]


def run(seeds: Sequence[int]) -> Measured:
    """The feedback by hand, attribution, and the second step's gradient on every seed's policy."""
    l1 = {"outcome": {"scale": "l1"}}
    found = [
        Property("feedback when 0.5 follows .1 .2 .3 .4", 1.9365, _feedback(0.5)),
        Property("... when 0 does", -0.19365, _feedback(0.0)),
        Property("... after a short history", 0.0, _feedback(0.5, HISTORY[:3])),
        Property("... without spread", 0.0, _feedback(0.5, [0.2] * 4)),
        Property(
            "attributions of one of eight sum to",
            8.0,
            float(np.abs(advantages(toy_group([1.0] + [0.0] * 7), channels=l1)).sum()),
        ),
    ]
    for seed in seeds:
        update = gradient(toy_learner(seed), [_batch(seed)])
        for after, sign in ((0.9, 1.0), (-0.9, -1.0)):
            what = f"seed {seed}: mean reward goes to {after:+}, cosine with the update"
            found.append(Property(what, sign, cosine(_second_step(seed, after), update), 1e-4))
    return measured(found)


def _feedback(mean: float, history: Sequence[float] = HISTORY) -> float:
    from agentrl.learner.extensions.hindsight import Memory
    from agentrl.learner.settings import Hindsight

    memory = Memory(Hindsight(window=4, least=4))
    memory.means = {"": list(history)}
    return memory.feedback(np.array([mean]), [Task(id="one", prompt="")])


def _batch(seed: int) -> Group:
    return drawn_by(toy_learner(seed), toy_group([1.0, 0.0]))


def _second_step(seed: int, after: float) -> torch.Tensor:
    """The gradient on the last batch, once the next one's mean reward is known."""
    learner = toy_learner(seed, algorithm="pipo", hindsight={"least": 2})
    for flat in (0.1, 0.2):
        learner.step([toy_group([flat, flat])])
    learner.step([_batch(seed)])
    return gradient(learner, [toy_group([after, after])])
