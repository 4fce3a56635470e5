"""Paper 30, TraPO: learn from unlabelled tasks whose learning curve looks like a labelled one's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from agentrl.core import Group
from agentrl.papers.kit.bandit import gradient, toy_group, toy_learner
from agentrl.papers.kit.properties import Property, measured
from agentrl.papers.registry import Measured

CLAIM = (
    "unlabelled tasks are judged by majority and trained on once their pass-rate curve correlates "
    "with labelled tasks'; until then they weigh nothing"
)


def run(seeds: Sequence[int]) -> Measured:
    """Scores and choices by hand, pseudo labels, and masks on real gradients."""
    from agentrl.learner import LearnerSettings, credit
    from agentrl.training.curriculum import best, trajectory_scores

    reference = np.array([[0.1, 0.2, 0.3, 0.4]])
    curves = np.array([[0, 0.25, 0.5, 0.75], [0.4, 0.3, 0.2, 0.1], [0.5] * 4])
    scores = trajectory_scores(reference, curves)
    group = unlabelled_group("aabca")
    labels = credit.returns(
        group.episodes, np.zeros(5, np.int64), LearnerSettings(algorithm="trapo").returns
    )
    found = [
        Property("rising, falling and flat curves", (1, -1, 0), scores),
        Property("chosen of them", [0], best(scores, 0.1, 0.4)),
        Property("at least one", [1], best(np.array([-1.0, -0.5]), 0.1, 0.4)),
        Property("chosen over four epochs, warm-up 8 and 4", (0, 1), [_chosen(8), _chosen(4)]),
        Property("majority of a a b c a", (1, 1, 0, 0, 1), labels),
    ]
    for seed in seeds:
        masked, chosen = (_gradient(seed, group, chosen) for chosen in (False, True))
        truth = _gradient(seed, toy_group([1.0, 1.0, 0.0, 0.0, 1.0]), True)
        found += [
            Property(f"seed {seed}: an unchosen task moves nothing", 0.0, masked, 1e-12),
            Property(f"seed {seed}: a chosen one as its labels", truth, chosen),
        ]
    return measured(found)


def unlabelled_group(answers: str) -> Group:
    group = toy_group([0.0] * len(answers))
    for episode, answer in zip(group.episodes, answers, strict=True):
        episode.outcome["answer"] = answer
        episode.task.metadata["unlabelled"] = True
    return group


def _chosen(warmup: int) -> int:
    """How many unlabelled tasks are chosen, of one that rises as the labelled one and one not."""
    from agentrl.training.curriculum import PassRates, TrajectorySelection

    rates = PassRates(
        {
            "known": [0.1, 0.2, 0.3, 0.4],
            "like": [0.0, 0.2, 0.4, 0.5],
            "unlike": [0.4, 0.3, 0.2, 0.1],
        }
    )
    selection = TrajectorySelection(warmup=warmup)
    selection.update(rates, ["known"], ["like", "unlike"])
    return len(selection.chosen & {"like"}) - len(selection.chosen & {"unlike"})


def _gradient(seed: int, group: Group, chosen: bool) -> float:
    """Length of the gradient of the policy loss alone."""
    from agentrl.training.curriculum import TrajectorySelection

    selection = TrajectorySelection()
    if chosen:
        selection.chosen = {e.task.id for e in group.episodes}
    selection.mark([e.task for e in group.episodes])
    entropy = {"entropy": {"coefficient": 0.0}}
    learner = toy_learner(seed, algorithm="trapo", divergences=entropy)
    return float(gradient(learner, [group]).norm())
