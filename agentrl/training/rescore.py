"""Judge stored episodes again under another reward, without running the policy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from agentrl.core import ConfigError, Episode, Group, Score
from agentrl.core.naming import named
from agentrl.learner.settings import LearnerSettings
from agentrl.rewards import RewardPlan, judge
from agentrl.rewards.diagnostics.distance import sampled_distance
from agentrl.store import RunStore
from agentrl.training.build import make_provider
from agentrl.training.heterogeneity import best_of_n
from agentrl.training.rewards import reward_plan


@dataclass(slots=True)
class Side:
    """What one reward made of the episodes.

    Attributes:
        judged: share of episodes that were judged (the others abstained or broke).
        reward: mean; gradient: share of groups whose rewards differ.
        cost: US dollars that judges asked for.
    """

    judged: float
    reward: float
    gradient: float
    cost: float = 0.0


@dataclass(slots=True)
class Rescored:
    """Two rewards on the same episodes.

    Attributes:
        correlation: Pearson's r of the rewards of episodes that both judged; NaN while one is
            constant. distance: STARC's sampled distance, baselines by group.
        flipped: share of turns whose advantage changed its sign; advantage_correlation: of turns.
        picked: mean stored reward of the episode of each group that the new reward ranks first;
            mean: of one at random; best: of the best one.
        episodes: (episode, its new scores), in the order they are stored.
    """

    count: int
    groups: int
    before: Side
    after: Side
    correlation: float
    distance: float
    flipped: float
    advantage_correlation: float
    picked: float
    mean: float
    best: float
    episodes: list[tuple[Episode, dict[str, Score]]] = field(default_factory=list, repr=False)

    def lines(self) -> list[str]:
        """As a table for people."""
        rows = [("", "stored", "rescored")]
        for name in ("judged", "reward", "gradient"):
            old, new = getattr(self.before, name), getattr(self.after, name)
            rows.append((name, f"{old:.3f}", f"{new:.3f}"))
        rows.append(("cost", f"${self.before.cost:.4f}", f"${self.after.cost:.4f}"))
        return [
            f"{self.count} episodes in {self.groups} groups",
            *(f"{a:<10}{b:>12}{c:>12}" for a, b, c in rows),
            f"rewards     correlation {self.correlation:.3f}, distance {self.distance:.3f} of 1",
            f"advantages  correlation {self.advantage_correlation:.3f},"
            f" {self.flipped:.1%} of turns change sign",
            f"best of group by the new reward: {self.picked:.3f} of the stored one"
            f" (at random {self.mean:.3f}, at most {self.best:.3f})",
        ]


def read_reward(path: Path) -> dict[str, Any]:
    """The `reward:` section of a run file, or a file that is one. Raises ConfigError."""
    import yaml

    try:
        found = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"cannot be read: {error}", where=str(path)) from error
    found = found.get("reward", found) if isinstance(found, dict) else found
    if not isinstance(found, dict) or "kind" not in found:
        raise ConfigError("no reward in this file", where=str(path), fix="{kind: gated, ...}")
    return found


async def rescore(
    store: RunStore,
    config: Mapping[str, Any],
    settings: LearnerSettings,
    *,
    split: str = "train",
    step: int | None = None,
) -> Rescored:
    """Judge the episodes of a run again; nothing is written.

    Args:
        config: a `reward:` section. Rewards that ask for log-probabilities cannot be used: the
            weights of then are gone.
        settings: how advantages are made of rewards.
        step: only this step.
    """
    stored = _groups(store, split, step)
    if not stored:
        raise ConfigError(f"no {split} episodes", where=str(store.directory))
    async with reward_plan(config, None, make_provider, named) as plan:
        again = await _judged(plan, stored)
    both = [
        (old, new)
        for before, after in zip(stored, again, strict=True)
        for old, new in zip(before.episodes, after.episodes, strict=True)
    ]
    common = [(o.reward, n.reward) for o, n in both if o.judged and n.judged]
    keys = [
        g
        for g, (b, a) in enumerate(zip(stored, again, strict=True))
        for o, n in zip(b.episodes, a.episodes, strict=True)
        if o.judged and n.judged
    ]
    old, new = (np.array(c) for c in zip(*common, strict=True)) if common else (np.zeros(0),) * 2
    first, second = _advantages(stored, again, settings)
    picked, mean, best = _picks(stored, again)
    return Rescored(
        count=len(both),
        groups=len(stored),
        before=_side(stored),
        after=_side(again),
        correlation=_correlation(old, new),
        distance=sampled_distance(old.tolist(), new.tolist(), keys) if common else float("nan"),
        flipped=float(np.mean(first * second < 0)) if len(first) else 0.0,
        advantage_correlation=_correlation(first, second),
        picked=picked,
        mean=mean,
        best=best,
        episodes=[(o, n.scores) for o, n in both],
    )


def _picks(stored: Sequence[Group], again: Sequence[Group]) -> tuple[float, float, float]:
    """Over groups, of the stored reward: of what the new one ranks first, the mean, the best."""
    found = []
    for before, after in zip(stored, again, strict=True):
        both = zip(before.episodes, after.episodes, strict=True)
        pairs = [(o.reward, n.reward) for o, n in both if o.judged and n.judged]
        if pairs:
            old, new = zip(*pairs, strict=True)
            found.append((best_of_n(old, new, len(old)), float(np.mean(old)), max(old)))
    picked, mean, best = np.mean(found, axis=0).tolist() if found else [float("nan")] * 3
    return picked, mean, best


def _groups(store: RunStore, split: str, step: int | None) -> list[Group]:
    """The episodes of each (step, task) that were stored together."""
    found: dict[tuple[int, str], Group] = {}
    for at in sorted({s.step for s in store.summaries(split=split, step=step)}):
        for episode in store.episodes(split=split, step=at):
            key = (at, episode.task.id)
            found.setdefault(key, Group(key, [])).episodes.append(episode)
    return list(found.values())


async def _judged(plan: RewardPlan, groups: Sequence[Group]) -> list[Group]:
    """Copies of the groups under the plan, step by step as they were trained on."""
    again = []
    for group in groups:
        episodes = [replace(e, scores={}) for e in group.episodes]
        for episode in episodes:
            await judge(plan.reward, episode)
        again.append(Group(group.key, episodes))
    for step in dict.fromkeys(group.key[0] for group in again):
        await plan.finish([g for g in again if g.key[0] == step])
    return again


def _side(groups: Sequence[Group]) -> Side:
    episodes = [e for g in groups for e in g.episodes]
    judged = [e for e in episodes if e.judged]
    rewards = [e.reward for e in judged]
    live = [len({e.reward for e in g.judged}) > 1 for g in groups]
    cost = sum(s.cost for e in episodes for name, s in e.scores.items() if name != "reward")
    return Side(
        len(judged) / len(episodes),
        float(np.mean(rewards)) if rewards else float("nan"),
        float(np.mean(live)),
        cost,
    )


def _advantages(
    stored: Sequence[Group], again: Sequence[Group], settings: LearnerSettings
) -> tuple[np.ndarray, np.ndarray]:
    """Advantages of the turns of episodes that both judged."""
    from agentrl.learner.credit import advantages, judged_episodes, turn_table

    found: list[dict[tuple[str, int], float]] = []
    for groups in (stored, again):
        episodes, group = judged_episodes(groups)
        table = turn_table(episodes, group, settings.returns)
        values = advantages(table, settings.channels, settings.whiten)
        names = ((episodes[e].id, int(t)) for e, t in zip(table.episode, table.turn, strict=True))
        found.append(dict(zip(names, values.tolist(), strict=True)))
    common = [key for key in found[0] if key in found[1]]
    return np.array([found[0][k] for k in common]), np.array([found[1][k] for k in common])


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    if len(a) < 2 or np.ptp(a) < 1e-12 or np.ptp(b) < 1e-12:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])


def records(found: Iterable[tuple[Episode, dict[str, Score]]]) -> list[dict[str, Any]]:
    """JSON-able lines: each episode's old and new value of every score."""

    def plain(scores: Mapping[str, Score]) -> dict[str, float | None]:
        return {name: None if s.abstained else s.value for name, s in scores.items()}

    return [
        {"episode": e.id, "task": e.task.id, "stored": plain(e.scores), "rescored": plain(new)}
        for e, new in found
    ]
