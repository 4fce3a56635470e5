"""Stage 2 with a critic: generalised advantage estimation on trained tokens only.

The trained tokens of an episode, one after the other over all its segments, are the steps of a
Markov chain; observations lie between two steps and are no steps, so no reward can land on one:

    tokens    P P S S S O O S S O O      an episode that ends on an observation
    steps         0 1 2     3 4          values, rewards, advantages, returns: length 5
    reward        . . t0    . t1 + r     step rewards at the last token of their turn,
                                         the outcome at the last trained token
    end                             ^    where a truncated episode's value is taken
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from agentrl.core import Episode
from agentrl.learner.credit import TRUNCATED, TurnTable
from agentrl.learner.rows import Row
from agentrl.learner.settings import Critic


def gae(
    reward: np.ndarray, value: np.ndarray, final: float, gamma: float, lam: float
) -> np.ndarray:
    """float64[n], A_t = delta_t + gamma lam A_{t+1}, delta_t = r_t + gamma V_{t+1} - V_t.

    Args:
        reward, value: float64[n]; final: the value after the last step (0: terminal).
    """
    following = np.append(value[1:], final)
    delta = reward + gamma * following - value
    out = np.zeros(len(delta))
    running = 0.0
    for t in range(len(delta) - 1, -1, -1):
        running = delta[t] + gamma * lam * running
        out[t] = running
    return out


def critic_credit(
    rows: Sequence[Row], episodes: Sequence[Episode], table: TurnTable, critic: Critic
) -> None:
    """Set `advantage`, `returns` and `value_mask` of rows whose `value` and `final` are known.

    `penalty` of the rows (divergences placed in the reward) is taken off token by token.
    """
    first = np.searchsorted(table.episode, np.arange(len(table.group)))
    of: dict[int, list[Row]] = {}
    for row in rows:
        of.setdefault(row.episode, []).append(row)
    for e, mine in of.items():
        turn = np.concatenate([r.turn for r in mine])
        value = np.concatenate([r.value for r in mine])
        reward = -np.concatenate([r.penalty for r in mine])
        last = _last_of_turns(turn)
        reward[last] += table.steps[first[e] + turn[last]]
        reward[-1] += table.outcome[e]
        cut = critic.bootstrap and episodes[e].status in TRUNCATED
        final = float(mine[-1].final) if cut else 0.0
        parts = _by_turn if critic.level == "turn" else _by_token
        columns = parts(reward, value, turn, final, critic)
        ends = np.cumsum([len(r.target) for r in mine])[:-1]
        for name, column in zip(("advantage", "returns", "value_mask"), columns, strict=True):
            for row, part in zip(mine, np.split(column, ends), strict=True):
                setattr(row, name, part)


def _by_token(
    reward: np.ndarray, value: np.ndarray, turn: np.ndarray, final: float, c: Critic
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    advantage = gae(reward, value, final, c.gamma, c.lam)
    return advantage, advantage + value, np.ones(len(value))


def _by_turn(
    reward: np.ndarray, value: np.ndarray, turn: np.ndarray, final: float, c: Critic
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The state of a turn is the one before its first token; its tokens share the advantage."""
    last = _last_of_turns(turn)
    first = np.append(0, last[:-1] + 1)
    sizes = last - first + 1
    turn_reward = np.add.reduceat(reward, first)
    advantage = gae(turn_reward, value[first], final, c.gamma, c.lam)
    mask = np.zeros(len(value))
    mask[first] = 1.0
    return np.repeat(advantage, sizes), np.repeat(advantage + value[first], sizes), mask


def _last_of_turns(turn: np.ndarray) -> np.ndarray:
    """int64[turns], index of the last token of each run of equal turns."""
    return np.append(np.flatnonzero(np.diff(turn)), len(turn) - 1)


def explained_variance(rows: Sequence[Row]) -> float:
    """1 - Var(returns - values) / Var(returns), where values are defined; 0 without variance."""
    mask = np.concatenate([r.value_mask for r in rows]) > 0
    value = np.concatenate([r.value for r in rows])[mask]
    returns = np.concatenate([r.returns for r in rows])[mask]
    spread = float(np.var(returns)) if len(returns) else 0.0
    return 1.0 - float(np.var(returns - value)) / spread if spread > 0 else 0.0
