"""Paper 50, Tulu 3 RLVR: PPO with a value model, KL in the reward, -10 for answers cut off."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from agentrl.core import Episode, Group, Status
from agentrl.papers.kit.bandit import toy_group, toy_learner
from agentrl.papers.kit.properties import Property, measured
from agentrl.papers.registry import Measured

CLAIM = (
    "the reward of a token is -beta (log pi - log reference), plus 10 at the last one of a "
    "verified answer, or -10 if it was cut off; advantages come from a value model by GAE"
)
TOKENS = [[4, 5, 6], [7, 8, 9]]


def run(seeds: Sequence[int]) -> Measured:
    """Returns of a passed, a failed and a cut answer, with log ratios of 0.1 and no value yet."""
    passed = _returns(Status.COMPLETED)
    cut = _returns(Status.MAX_TOKENS)
    found = [
        Property("rewards of a passed answer", (-0.005, -0.005, 9.995), _rewards(passed)),
        Property("... cut off", (-0.005, -0.005, -10.005), _rewards(cut)),
        Property("advantages are suffix sums", (9.985, 9.99, 9.995), passed),
    ]
    for seed in seeds:
        white = _advantages(seed)
        found += [
            Property(f"seed {seed}: whitened mean", 0.0, float(white.mean()), 1e-6),
            Property(f"seed {seed}: ... deviation", 1.0, float(white.std(ddof=1))),
        ]
    return measured(found)


def _rewards(returns: np.ndarray) -> list[float]:
    """Rewards by token, from their suffix sums."""
    return (returns - np.append(returns[1:], 0.0)).tolist()


def _returns(status: Status) -> np.ndarray:
    group = toy_group([1.0, 1.0], TOKENS)
    for episode in group.episodes:
        episode.status = status
    return _credit(0, group, whiten=False)[0]


def _advantages(seed: int) -> np.ndarray:
    return np.concatenate(_credit(seed, toy_group([1.0, 0.0], TOKENS), whiten=True))


def _credit(seed: int, group: Group, *, whiten: bool) -> list[np.ndarray]:
    """Advantages by token, where policy and reference differ by 0.1 on every token."""
    from agentrl.learner import credit

    # Whitened tokens must differ, so lambda is the preset's there.
    lam = {} if whiten else {"critic": {"lam": 1.0}}
    learner = toy_learner(seed, algorithm="tulu3", whiten=whiten, **lam)
    episodes: list[Episode] = group.episodes
    rows = learner._rows(episodes)
    s = learner.settings
    table = credit.turn_table(episodes, np.zeros(len(episodes), np.int64), s.returns)
    learner.looks.before_update(rows, table)
    for row in rows:
        row.reference = row.behave - 0.1
        row.penalty = s.divergences["kl"].coefficient * (row.behave - row.reference)
    learner._credit(rows, episodes, table)
    return [row.advantage for row in rows]
