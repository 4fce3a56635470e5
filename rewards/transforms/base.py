"""Reward transforms: applied to the rewards of a step, in the order they are declared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np

from agentrl.core import Episode, Group, Score
from agentrl.rewards.judging import COMPOSED

BEFORE = "reward/before_transforms"


@dataclass(slots=True)
class Batch:
    """The judged episodes of a step.

    Attributes:
        values: float64[E], their rewards, to be changed.
        group: int64[E], which are compared with each other.
        keep: bool[E]; False makes an episode abstain: it leaves every statistic and the loss.
    """

    values: np.ndarray
    group: np.ndarray
    keep: np.ndarray
    episodes: Sequence[Episode]

    def by_group(self) -> list[np.ndarray]:
        """The kept members of each group, as indices."""
        return [
            found
            for g in np.unique(self.group)
            if len(found := np.flatnonzero((self.group == g) & self.keep))
        ]


@runtime_checkable
class RewardTransform(Protocol):
    """Changes rewards in place. Zero variance gives zeros; whatever is not finite abstains."""

    name: str

    def apply(self, batch: Batch) -> dict[str, float]:
        """Change `batch`; metrics by name, kept as "transform/NAME/..."."""
        ...


@runtime_checkable
class Stateful(Protocol):
    """What remembers something from step to step; it goes into the checkpoint."""

    name: str

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def transform_rewards(
    transforms: Sequence[RewardTransform], groups: Sequence[Group]
) -> dict[str, float]:
    """Apply transforms to the judged episodes of a step, and their metrics.

    What an episode's reward was before is kept as the score "reward/before_transforms".
    """
    pairs = [(e, g) for g, group in enumerate(groups) for e in group.judged]
    if not transforms or not pairs:
        return {}
    batch = Batch(
        np.array([e.reward for e, _ in pairs], np.float64),
        np.array([g for _, g in pairs], np.int64),
        np.ones(len(pairs), bool),
        [e for e, _ in pairs],
    )
    metrics: dict[str, float] = {}
    dropped_by = [""] * len(pairs)
    for transform in transforms:
        kept = batch.keep.copy()
        found = transform.apply(batch)
        batch.keep &= np.isfinite(batch.values)
        batch.values = np.where(batch.keep, batch.values, 0.0)
        for i in np.flatnonzero(kept & ~batch.keep):
            dropped_by[i] = transform.name
        metrics |= {f"transform/{transform.name}/{k}": float(v) for k, v in found.items()}
        metrics[f"transform/{transform.name}/dropped"] = float((kept & ~batch.keep).mean())
    for episode, value, keep, by in zip(
        batch.episodes, batch.values, batch.keep, dropped_by, strict=True
    ):
        _write(episode, float(value), bool(keep), by)
    return metrics


def _write(episode: Episode, value: float, keep: bool, by: str) -> None:
    before = episode.scores[COMPOSED]
    episode.scores[BEFORE] = before
    if keep:
        episode.scores[COMPOSED] = replace(before, value=value)
    else:
        episode.scores[COMPOSED] = Score(
            checks=before.checks, abstained=True, evidence=f"left out by {by}"
        )
