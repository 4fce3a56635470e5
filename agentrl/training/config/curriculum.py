"""The `curriculum` section: which tasks a step works on."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Tag, model_validator

from agentrl.training.config.base import Section, by_kind

Rate = Annotated[float, Field(ge=0, le=1)]


class ShuffleConfig(Section):
    """Every task once an epoch, in a new order each."""

    kind: Literal["shuffle"] = "shuffle"


class BucketsConfig(Section):
    """Tasks by how often they are solved of late, some more often than others."""

    kind: Literal["buckets"] = "buckets"
    edges: list[Rate] = [0.25, 0.75]
    """Pass rates at which one bucket ends and the next begins, rising."""
    weights: list[Annotated[float, Field(ge=0)]] = [1.0, 2.0, 1.0]
    """How often each bucket is drawn from, one more than there are edges."""
    unseen: Annotated[float, Field(ge=0)] = 2.0
    """The same for the tasks that were never sampled."""
    window: Annotated[int, Field(ge=1)] = 2
    """Visits over which a task's pass rate is the mean."""

    @model_validator(mode="after")
    def _fits(self) -> BucketsConfig:
        if sorted(set(self.edges)) != self.edges:
            raise ValueError("edges must rise")
        if len(self.weights) != len(self.edges) + 1:
            raise ValueError(f"{len(self.edges)} edges need {len(self.edges) + 1} weights")
        if not any(self.weights) and not self.unseen:
            raise ValueError("at least one weight must be above 0")
        return self


class PairsConfig(Section):
    """A hard task that is solved now and then, paired with an easy one that fails now and then."""

    kind: Literal["pairs"] = "pairs"
    hard: tuple[Rate, Rate] = (0.0, 0.25)
    """Pass rates of hard tasks; 0 itself is never one."""
    easy: tuple[Rate, Rate] = (0.75, 1.0)
    """Pass rates of easy tasks; 1 itself is never one."""
    probe_every: Annotated[int, Field(ge=1)] = 10
    """Every so many steps all slots go to other tasks, so that their pass rates stay true."""


class TrapoConfig(Section):
    """Unlabelled tasks (`metadata.unlabelled`) that are learned like labelled ones (paper 30)."""

    kind: Literal["trapo"] = "trapo"
    warmup: Annotated[int, Field(ge=2)] = 8
    """Epochs before any is chosen; until then unlabelled tasks weigh nothing."""
    top: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Share of the unlabelled tasks that is chosen, by likeness."""
    above: Annotated[float, Field(ge=-1, le=1)] = 0.4
    """All above this likeness are chosen as well."""


class HorizonConfig(Section):
    """Chains of the tasks' problems, longer when the policy masters them (paper 2)."""

    kind: Literal["horizon"] = "horizon"
    first: Annotated[int, Field(ge=1)] = 1
    """Problems of a chain at the beginning."""
    most: Annotated[int, Field(ge=1)] = 8
    """Problems of the longest."""
    grow_at: Annotated[float, Field(gt=0, le=1)] = 0.6
    """Share of solved chains, over the last `window` steps of a length, at which the next one is
    twice as long."""
    window: Annotated[int, Field(ge=1)] = 3
    """Steps over which that is measured."""
    stepwise: bool = False
    """Show a chain's problems one after the other."""


class SelfPlayConfig(Section):
    """One policy asks, answers and verifies, over documents (paper 17); needs
    {kind: spell_rule, group: [{kind: spell_roles}], derive: [{kind: spell}]} as the reward."""

    kind: Literal["self_play"] = "self_play"
    history: Annotated[int, Field(ge=0)] = 3
    """Solved questions of a document set that the asker is shown and told to exceed."""
    fresh: Annotated[int, Field(ge=1)] = 5
    """Documents that are new to the asker, beside those of the questions shown."""


CurriculumConfig = Annotated[
    Annotated[ShuffleConfig, Tag("kind=shuffle")]
    | Annotated[BucketsConfig, Tag("kind=buckets")]
    | Annotated[PairsConfig, Tag("kind=pairs")]
    | Annotated[TrapoConfig, Tag("kind=trapo")]
    | Annotated[HorizonConfig, Tag("kind=horizon")]
    | Annotated[SelfPlayConfig, Tag("kind=self_play")],
    by_kind("shuffle"),
]
