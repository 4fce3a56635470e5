"""Stages 1 and 2: rewards -> advantages, on a table of turns in float64.

One line of the table is one turn of one judged episode. Every estimator reads the same table and
returns one number per line; the trained tokens of a turn share it. Statistics are over samples
(episodes, turns or checks), never over rows or tokens, so a long episode counts once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from agentrl.core import Episode, Group, Score, Status, derive_seed
from agentrl.learner.rows import LearnerError, Row
from agentrl.learner.settings import Channel, LearnerSettings, Transform

TRUNCATED = frozenset({Status.MAX_TURNS, Status.MAX_TOKENS, Status.DEADLINE})
FLAT = 1e-6
"""Rewards whose span is below this share of their size are equal: rounding is no signal."""


@dataclass(slots=True)
class TurnTable:
    """K turns of E judged episodes."""

    episode: np.ndarray  # int64[K], index of the episode
    turn: np.ndarray  # int64[K]
    steps: np.ndarray  # float64[K], reward of the turn
    tokens: np.ndarray  # int64[K], trained tokens of the turn
    state: np.ndarray  # int64[K], equal where turns of one group start from one state
    group: np.ndarray  # int64[E]
    outcome: np.ndarray  # float64[E], reward of the episode after stage 1
    items: dict[str, np.ndarray]  # float64[E] each, NaN where an episode has no such check
    weights: dict[str, float]  # of the items, beside each other

    @property
    def last(self) -> np.ndarray:
        """int64[E], the line of each episode's last turn."""
        last = np.zeros(len(self.group), np.int64)
        np.maximum.at(last, self.episode, np.arange(len(self.episode)))
        return last


def judged_episodes(groups: Sequence[Group]) -> tuple[list[Episode], np.ndarray]:
    """The episodes that may enter a statistic, and the index of each one's group."""
    pairs = [(e, g) for g, group in enumerate(groups) for e in group.judged]
    return [e for e, _ in pairs], np.array([g for _, g in pairs], np.int64)


def turn_table(
    episodes: Sequence[Episode], group: np.ndarray, transforms: Sequence[Transform] = ()
) -> TurnTable:
    """Lay judged episodes out as a table of turns."""
    counts = [_tokens_of_turns(e) for e in episodes]
    states: dict[object, int] = {}
    state = [
        states.setdefault((int(g), key), len(states))
        for e, g, n in zip(episodes, group, counts, strict=True)
        for key in _states(e, len(n))
    ]
    return TurnTable(
        episode=np.repeat(np.arange(len(episodes)), [len(n) for n in counts]),
        turn=np.concatenate([np.arange(len(n)) for n in counts] or [np.zeros(0, np.int64)]),
        steps=np.concatenate(
            [_steps(e, len(n)) for e, n in zip(episodes, counts, strict=True)] or [np.zeros(0)]
        ),
        tokens=np.concatenate([*counts, np.zeros(0, np.int64)]),
        state=np.array(state, np.int64),
        group=group,
        outcome=returns(episodes, group, transforms),
        items=_items(episodes),
        weights={c.name: c.weight for e in episodes for c in e.scores["reward"].checks},
    )


def returns(
    episodes: Sequence[Episode], group: np.ndarray, transforms: Sequence[Transform]
) -> np.ndarray:
    """Stage 1: float64[E], the rewards after the transforms, in their order."""
    reward = np.array([e.reward for e in episodes], np.float64)
    for t in transforms:
        on = np.array([not t.flag or has_flag(e, t.flag) for e in episodes], bool)
        reward = np.where(on, _transform(t, reward, episodes, group, on), reward)
    for e in np.flatnonzero(~np.isfinite(reward)).tolist():
        raise LearnerError(f"the reward is {reward[e]}", where=f"episode {episodes[e].id!r}")
    return reward


def _transform(
    t: Transform,
    reward: np.ndarray,
    episodes: Sequence[Episode],
    group: np.ndarray,
    on: np.ndarray,
) -> np.ndarray:
    if t.kind == "affine":
        return t.scale * reward + t.shift
    if t.kind == "replace":
        return np.full_like(reward, t.shift)
    if t.kind == "penalty":
        return reward - t.shift
    if t.kind == "unbias":
        return (reward - t.false_positive) / (1.0 - t.false_positive - t.false_negative)
    if t.kind == "coin":
        return np.array([float(derive_seed(e.seed, "coin", e.id) % 2) for e in episodes])
    answers = [str(e.outcome.get("answer")) for e in episodes]
    votes: dict[int, Counter[str]] = {}
    for i in np.flatnonzero(on):
        votes.setdefault(int(group[i]), Counter())[answers[i]] += 1
    winner = {g: max(sorted(v), key=v.__getitem__) for g, v in votes.items()}
    return np.array(
        [float(winner.get(int(g)) == a) for g, a in zip(group, answers, strict=True)], np.float64
    )


def has_flag(episode: Episode, name: str) -> bool:
    """Whether an episode carries a flag of the settings (see `Transform`)."""
    if name == "truncated":
        return episode.status in TRUNCATED
    if episode.outcome.get(name) or episode.task.metadata.get(name):
        return True
    checks = episode.scores["reward"].checks if "reward" in episode.scores else ()
    return episode.status.value == name or any(c.name == name and c.passed for c in checks)


def advantages(table: TurnTable, channels: Mapping[str, Channel], whiten: bool) -> np.ndarray:
    """Stage 2: float64[K], the channels' advantages added up, whitened over tokens if asked."""
    total = np.zeros(len(table.episode))
    for channel in channels.values():
        total += channel.weight * _channel(table, channel)
    return _whiten(total, table.tokens) if whiten else total


def spread(advantage: np.ndarray, table: TurnTable, rows: Sequence[Row]) -> None:
    """Give every trained token the advantage of its turn."""
    first = np.searchsorted(table.episode, np.arange(len(table.group)))
    for row in rows:
        row.advantage = advantage[first[row.episode] + row.turn]


def whiten_rows(rows: Sequence[Row]) -> None:
    """Advantages of the trained tokens of all rows: mean 0, standard deviation 1."""
    if not rows:
        return
    values = np.concatenate([r.advantage for r in rows])
    white = _whiten(values, np.ones(len(values), np.int64))
    cuts = np.cumsum([len(r.target) for r in rows])[:-1]
    for row, part in zip(rows, np.split(white, cuts), strict=True):
        row.advantage = part


def _channel(table: TurnTable, c: Channel) -> np.ndarray:
    """float64[K], the advantage of one channel on every turn; none of `spans` (see spans.py)."""
    if c.source == "spans":
        return np.zeros(len(table.episode))
    if c.source == "outcome":
        keys = keys_of(c, group=table.group)
        return compare(table.outcome, keys, c)[table.episode]
    if c.source == "items":
        return _compare_items(table, c)[table.episode]
    reward = table.steps.copy()
    if c.source == "return":
        reward[table.last] += table.outcome
    keys = keys_of(c, group=table.group[table.episode], turn=table.turn, state=table.state)
    return compare(reward_to_go(reward, table.episode, c.discount), keys, c)


def compare(values: np.ndarray, keys: np.ndarray, c: Channel) -> np.ndarray:
    """Advantages of samples inside their keys.

    Args:
        values: float64[S]; keys: int64[S], samples with equal keys are compared.

    Returns:
        float64[S]. Exactly zero in keys of fewer than `c.min_group` samples, and, where the
        baseline is taken from the key, in keys without variance.
    """
    _, k = np.unique(keys, return_inverse=True)
    n = np.bincount(k)
    mean = np.bincount(k, values) / n
    centred = values - mean[k]
    flat = _is_flat(values, k, len(n))
    if c.baseline in ("mean", "leave_one_out"):
        out = np.where(flat[k], 0.0, centred)
        if c.baseline == "leave_one_out":
            out *= (n / np.maximum(n - 1, 1))[k]
    else:
        out = values - (c.constant if c.baseline == "constant" else 0.0)
    if c.scale == "std":
        free = np.maximum(n - c.ddof, 1)
        std = np.where(flat, 0.0, np.sqrt(np.bincount(k, centred**2) / free))
        out = np.where(flat[k], 0.0, out / np.maximum(std + c.epsilon, 1e-300)[k])
    elif c.scale == "batch_std" and len(values) > c.ddof:
        out = out / max(float(np.std(values, ddof=c.ddof)) + c.epsilon, 1e-300)
    elif c.scale == "l1":
        size = np.bincount(k, np.abs(out))
        out = np.where(size[k] > 0, out * n[k] / np.maximum(size, 1e-300)[k], 0.0)
    compares = c.baseline in ("mean", "leave_one_out") or c.scale != "none"
    return np.where(n[k] >= c.min_group, out, 0.0) if compares else out


def reward_to_go(reward: np.ndarray, episode: np.ndarray, discount: float) -> np.ndarray:
    """R_t = r_t + discount * R_{t+1} inside each episode; lines of an episode are in order."""
    out = reward.astype(np.float64, copy=True)
    for t in range(len(out) - 2, -1, -1):
        if episode[t] == episode[t + 1]:
            out[t] += discount * out[t + 1]
    return out


def zero_variance(table: TurnTable) -> np.ndarray:
    """bool[G], for each group present: all its judged episodes have one reward."""
    _, k = np.unique(table.group, return_inverse=True)
    return _is_flat(table.outcome, k, int(k.max(initial=-1)) + 1)


def has_signal(groups: Sequence[Group], s: LearnerSettings) -> list[bool]:
    """For each group, whether its rewards alone give any of its episodes an advantage.

    A group is judged whole, before any token is looked at. With a critic every judged group has
    one; a link needs both classes, which is variance of the rewards.
    """
    episodes, group = judged_episodes(groups)
    if s.critic is not None:
        return [bool((group == g).any()) for g in range(len(groups))]
    table = turn_table(episodes, group, s.returns)
    if s.link is not None:
        mixed = dict(zip(np.unique(group).tolist(), (~zero_variance(table)).tolist(), strict=True))
        return [mixed.get(g, False) for g in range(len(groups))]
    moved = advantages(table, s.channels, whiten=False) != 0.0
    of = group[table.episode]
    finer = [c for c in s.channels.values() if c.source == "spans"]
    return [
        bool(moved[of == g].any()) or any(_spans_teach(each.judged, c) for c in finer)
        for g, each in enumerate(groups)
    ]


def _spans_teach(episodes: Sequence[Episode], c: Channel) -> bool:
    """Whether rewards of spans differ, as far as can be told without looking at tokens."""
    values = {v for e in episodes for v in _span_values(e.scores["reward"])}
    alone = c.baseline in ("none", "constant")
    return len(values) > 1 or (alone and any(v != c.constant for v in values))


def _span_values(score: Score) -> list[float]:
    if score.spans:
        return [score.value, *(s.value for s in score.spans)]
    return list(score.steps) or [score.value]


def _is_flat(values: np.ndarray, k: np.ndarray, count: int) -> np.ndarray:
    high, low = np.full(count, -np.inf), np.full(count, np.inf)
    np.maximum.at(high, k, values)
    np.minimum.at(low, k, values)
    return high - low <= FLAT * np.maximum(np.abs(high), np.abs(low))


def _compare_items(table: TurnTable, c: Channel) -> np.ndarray:
    """float64[E], the mean over checks of their advantages, each weighing `Check.weight`.

    A check's value is in points, at most its weight: compared is the share of them that it got,
    so that dividing by a deviation does not make light items heavy.
    """
    total, mass = np.zeros(len(table.group)), np.zeros(len(table.group))
    for name, values in table.items.items():
        has, weight = ~np.isnan(values), table.weights[name]
        if weight <= 0:
            continue
        shares = values[has] / weight
        total[has] += weight * compare(shares, keys_of(c, group=table.group[has]), c)
        mass[has] += weight
    return np.divide(total, mass, out=total, where=mass > 0)


def keys_of(c: Channel, **columns: np.ndarray) -> np.ndarray:
    """int64[S], equal where all columns that `c.by` names are equal."""
    size = len(next(iter(columns.values())))
    missing = [name for name in c.by if name not in columns]
    if missing:
        raise LearnerError(f"samples of source {c.source!r} have no {missing[0]!r} to share")
    if not c.by or size == 0:
        return np.zeros(size, np.int64)
    stacked = np.stack([columns[name] for name in c.by])
    return np.unique(stacked, axis=1, return_inverse=True)[1].reshape(-1)


def _whiten(values: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    n = tokens.sum()
    seen = values[tokens > 0]
    if n < 2 or _is_flat(seen, np.zeros(len(seen), np.int64), 1)[0]:
        return np.zeros_like(values)
    mean = (values * tokens).sum() / n
    std = np.sqrt(((values - mean) ** 2 * tokens).sum() / (n - 1))
    return np.asarray((values - mean) / (std + 1e-8))


def _tokens_of_turns(episode: Episode) -> np.ndarray:
    """int64[turns], trained tokens of each turn."""
    ids = [s.turn[s.action_mask].astype(np.int64) for s in episode.segments]
    return np.bincount(np.concatenate([*ids, np.zeros(0, np.int64)]), minlength=_turns(episode))


def _turns(episode: Episode) -> int:
    return max(len(episode.turns), 1)


def _steps(episode: Episode, turns: int) -> np.ndarray:
    steps = episode.scores["reward"].steps
    if not steps:
        return np.zeros(turns)
    if len(steps) != turns:
        raise LearnerError(
            f"the reward gave {len(steps)} step rewards for {turns} turns",
            where=f"episode {episode.id!r}",
            fix="Score.steps is empty or has one number per turn",
        )
    return np.asarray(steps, np.float64)


def _states(episode: Episode, turns: int) -> list[object]:
    """What each turn starts from: `outcome["states"]` if given, else what it last read."""
    given = episode.outcome.get("states")
    if given is not None and len(given) >= turns:
        return [str(s) for s in given[:turns]]
    read: list[object] = ["start"]
    for turn in episode.turns[: turns - 1]:
        read.append(tuple(m.content for m in turn.observations))
    return read + [("unknown", id(episode), t) for t in range(len(read), turns)]


def _items(episodes: Sequence[Episode]) -> dict[str, np.ndarray]:
    names = dict.fromkeys(c.name for e in episodes for c in e.scores["reward"].checks)
    items = {name: np.full(len(episodes), np.nan) for name in names}
    for i, episode in enumerate(episodes):
        for check in episode.scores["reward"].checks:
            items[check.name][i] = check.value
    return items
