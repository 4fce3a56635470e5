"""Tasks made of tasks and of finished episodes."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from agentrl.core import Episode, Task


@runtime_checkable
class DatasetTransform(Protocol):
    """Makes tasks before training. Deterministic in (tasks, rng)."""

    name: str

    async def transform(self, tasks: Sequence[Task], rng: random.Random) -> list[Task]: ...


@runtime_checkable
class DerivedTasks(Protocol):
    """Makes tasks of the step's judged episodes, to be run in the same step by the same weights.

    A derived task has `metadata["derived"]` = the transform's name, its own group and its own
    statistics.
    """

    name: str

    def derive(self, episodes: Sequence[Episode], rng: random.Random) -> list[Task]: ...
