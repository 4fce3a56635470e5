"""The `replay` section."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from agentrl.training.config.base import Section

Order = Literal["uniform", "oldest", "newest", "fewest", "nearest"]


class StoredConfig(Section):
    """Episodes of earlier steps beside the fresh ones of a replayed task, off-policy."""

    count: Annotated[int, Field(ge=1)] = 2
    """At most so many in a group; those with the highest reward come first, then the newest."""
    max_age: Annotated[int, Field(ge=0)] = 16
    """Weights versions (optimiser steps) that may lie between drawing a token and learning it."""
    cap: Annotated[float, Field(gt=1)] = 2.0
    """Truncation of their importance weights."""


class ReplayConfig(Section):
    """Tasks whose group failed wait, and are sampled again by the policy of now."""

    every: Annotated[int, Field(ge=1)] = 5
    """Steps between replays."""
    share: Annotated[float, Field(gt=0, le=1)] = 0.25
    """Part of a replaying step's tasks that come from the waiting ones, at least one."""
    insert: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """A group failed when at most this share of its episodes did the task."""
    evict: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """A task that is tried again is done when more than this share of the group did it."""
    max_tries: Annotated[int, Field(ge=1)] = 5
    """It also goes after so many tries in vain; it may fail and wait again later."""
    capacity: Annotated[int, Field(ge=1)] = 1024
    """Tasks that may wait; beyond that the one that has waited longest goes."""
    order: Order = "uniform"
    """Who is tried: drawn evenly, or rather who has waited longest (oldest) or shortest (newest),
    who was tried least (fewest), whose last group got the highest mean reward (nearest)."""
    sharpness: Annotated[float, Field(ge=0)] = 1.0
    """Of every order but uniform: tasks are drawn by 1 / rank ** sharpness."""
    url: str | None = None
    """What several runs share: a SQLite file (path, file:// or sqlite://) or a PostgreSQL database
    (postgresql://user@host/name); none: the run's own."""
    stored: StoredConfig | None = None
    """Also learn from stored episodes of the task; none: fresh ones only."""
