"""Paper 62, bidirectional pairing: rare successes of a hard task, rare failures of an easy one."""

from __future__ import annotations

from collections.abc import Sequence

from agentrl.core import Group, Task
from agentrl.papers.kit.bandit import advantages, cosine, gradient, toy_group, toy_learner
from agentrl.papers.kit.properties import Property, measured
from agentrl.papers.registry import Measured

CLAIM = (
    "a pair of a hard and an easy task gives two large, opposite advantages; their weights act "
    "after normalisation, and would cancel before it"
)
HARD, EASY = [1.0] + [0.0] * 7, [1.0] * 7 + [0.0]
RATES = {"never": 0.0, "rare": 0.125, "half": 0.5, "safe": 0.875, "always": 1.0}
EXACT = {"algorithm": "pairs", "channels": {"outcome": {"epsilon": 0}}}


def run(seeds: Sequence[int]) -> Measured:
    """Advantages, the sampler's bounds, and where weights act, on every seed's policy."""
    from agentrl.training.curriculum import pair_tasks, set_roles

    hard, easy = (advantages(toy_group(r), **EXACT) for r in (HARD, EASY))
    doubled = advantages(toy_group([2.0 * r for r in HARD]), **EXACT)
    pairs = pair_tasks(RATES, 3, seed=0)
    tasks = set_roles({name: Task(id=name, prompt="") for name in RATES}, pairs)
    roles = {t.id: t.metadata["role"] for t in tasks}
    found = [
        Property("p = 1/8: success, failure", (2.6458, -0.3780), (hard[0], hard[-1])),
        Property("p = 7/8: success, failure", (0.3780, -2.6458), (easy[0], easy[-1])),
        Property("antisymmetric", [-a for a in reversed(easy)], hard, 1e-9),
        Property("weights before normalisation cancel", hard, doubled, 1e-9),
        Property(
            "one pair of five rates, marked", 1, float(roles == {"rare": "hard", "safe": "easy"})
        ),
    ]
    for seed in seeds:
        lengths = [_length(seed, rewards, role) for rewards, role in _CASES]
        found += [
            Property(
                f"seed {seed}: rare success of a hard task", 2.0, lengths[0] / lengths[1], 1e-9
            ),
            Property(
                f"seed {seed}: rare failure of an easy one", 2.0, lengths[2] / lengths[3], 1e-9
            ),
            Property(f"seed {seed}: the pair pulls both ways", 1, float(_cosine(seed) < 0.999)),
        ]
    return measured(found)


_CASES = ((HARD, "hard"), (HARD, ""), (EASY, "easy"), (EASY, ""))


def paired_group(rewards: Sequence[float], role: str, *, rare_only: bool = False) -> Group:
    """A group in a role; with `rare_only` the common outcome is masked."""
    group = toy_group(rewards)
    rare = 1.0 if sum(rewards) < len(rewards) / 2 else 0.0
    for episode in group.episodes:
        episode.task.metadata["role"] = role
        if rare_only and episode.reward != rare:
            episode.outcome["common"] = True
    return group


def _length(seed: int, rewards: Sequence[float], role: str) -> float:
    """Length of the rare outcome's gradient."""
    masked = {"field": {"flags": {"common": 0.0}}}
    group = paired_group(rewards, role, rare_only=True)
    return float(gradient(toy_learner(seed, **EXACT, **masked), [group]).norm())


def _cosine(seed: int) -> float:
    """Between the updates of the hard and the easy task, over the same answers."""
    hard, easy = (
        gradient(toy_learner(seed, **EXACT), [paired_group(r, role)])
        for r, role in ((HARD, "hard"), (EASY, "easy"))
    )
    return cosine(hard, easy)
