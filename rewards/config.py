"""Rewards from the `reward:` section of a run file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, get_type_hints

from agentrl.core import ConfigError, Group, Reward, Task, derive_seed
from agentrl.core.naming import named
from agentrl.rewards.compose import Gated, Level, Mode, Weighted
from agentrl.rewards.construct import Builders, checked, construct, known, mapping, unknown
from agentrl.rewards.data import DerivedTasks
from agentrl.rewards.group import BatchReward, GroupReward, judge_groups
from agentrl.rewards.learned.base import CoTrainedRewardModel
from agentrl.rewards.registry import EPISODE_SCOPES, kinds
from agentrl.rewards.resources import Resources
from agentrl.rewards.transforms import RewardTransform, Stateful, transform_rewards
from agentrl.rewards.verifiers.base import Verified, Verifier

_LEVEL_KEYS = ("priority", "above", "weight", "scope")
_VERIFIED_KEYS = ("extract", "reference", "right", "wrong", "missing")


@dataclass(slots=True)
class RewardPlan:
    """Everything that the `reward:` section says.

    Attributes:
        reward: judges each episode as it ends.
        group: then compare the episodes of groups, in this order.
        transforms: then change the rewards of the step, in this order.
        derive: make further tasks of the step's episodes, which run in the same step.
    """

    reward: Reward
    group: list[GroupReward | BatchReward] = field(default_factory=list)
    transforms: list[RewardTransform] = field(default_factory=list)
    derive: list[DerivedTasks] = field(default_factory=list)

    def derived(self, groups: Sequence[Group], seed: int) -> list[Task]:
        """The further tasks, each to be run as a group of its own."""
        episodes = [e for group in groups for e in group.judged]
        return [
            task
            for n, source in enumerate(self.derive)
            for task in source.derive(episodes, Random(derive_seed(seed, "derive", n)))
        ]

    async def finish(self, groups: Sequence[Group]) -> dict[str, float]:
        """The group rewards and transforms of a step; metrics. Episodes are changed in place."""
        metrics: dict[str, float] = {}
        for reward in self.group:
            metrics |= await judge_groups(reward, groups)
        return metrics | transform_rewards(self.transforms, groups)

    async def learn(self, groups: Sequence[Group]) -> dict[str, float]:
        """Let co-trained reward models learn from a step's judged groups; metrics."""
        metrics: dict[str, float] = {}
        for model in self._all():
            if isinstance(model, CoTrainedRewardModel):
                found = await model.learn(groups)
                metrics |= {f"reward_model/{model.name}/{k}": v for k, v in found.items()}
        return metrics

    def state_dict(self) -> dict[str, Any]:
        """State of all that remembers something, by name."""
        return {r.name: r.state_dict() for r in self._all() if isinstance(r, Stateful)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """What has no state kept starts afresh."""
        for reward in self._all():
            if isinstance(reward, Stateful) and reward.name in state:
                reward.load_state_dict(state[reward.name])

    def _all(self) -> list[Any]:
        return [*_tree(self.reward), *self.group, *self.transforms]


def build_plan(
    config: Mapping[str, Any], resources: Resources | None = None, *, where: str = "reward"
) -> RewardPlan:
    """The plan of a `reward:` section: a reward (see `build_reward`) with `group:`, `derive:` and
    `transforms:` beside it, lists of entries of those scopes.

    Raises:
        ConfigError: with the path of the key, what is allowed and the nearest name.
    """
    settings = mapping(config, where)
    after = {key: settings.pop(key, []) for key in ("group", "transforms", "derive")}
    reward = build_reward(settings, resources, where=where)
    build = _Build(resources or Resources.none())
    plan = RewardPlan(reward)
    for key, scope, into in (
        ("group", "group", plan.group),
        ("transforms", "transform", plan.transforms),
        ("derive", "derive", plan.derive),
    ):
        for i, item in enumerate(_list(after[key], f"{where}.{key}")):
            into.append(build.entry(item, f"{where}.{key}[{i}]", scope))
    _refuse_doubles([*_names(reward), *(x.name for x in (*plan.group, *plan.transforms))], where)
    return plan


def build_reward(
    config: Mapping[str, Any], resources: Resources | None = None, *, where: str = "reward"
) -> Reward:
    """The reward that a run file describes.

    A critic is `{kind: NAME, ...its settings}`; NAME may be `package.module:Name` of your own. A
    verifier's name makes a `Verified` reward of it, whose keys stand beside the verifier's:

        {kind: math, extract: boxed, wrong: -0.5}

    Composed kinds:

        {kind: gated, outcome: CRITIC, above: 0.0, steps: [CRITIC + level keys, ...]}
        {kind: gated, levels: [CRITIC + level keys, ...]}        any number of priorities
        {kind: weighted, parts: [CRITIC + weight, scope, ...]}

    Level keys are `priority`, `above`, `weight` and `scope` (sum or mean); `gated` also takes
    `mode` (gated or direct). A setting that is a reward, a verifier or a judge is written as one.

    Args:
        resources: judges, scorer and sandboxes; without them the result can only be looked at.

    Raises:
        ConfigError: with the path of the key, what is allowed and the nearest name.
    """
    reward = _Build(resources or Resources.none()).reward(config, where)
    _refuse_doubles(_names(reward), where)
    return reward


def build_verifier(
    config: Mapping[str, Any], resources: Resources | None = None, *, where: str = "verifier"
) -> Verifier:
    """A verifier from `{kind: NAME, ...its settings}`. Raises ConfigError, as `build_reward`."""
    return _Build(resources or Resources.none()).verifier(config, where)


class _Build:
    """Builds rewards from plain values with one set of resources."""

    def __init__(self, resources: Resources) -> None:
        self.resources = resources
        self.builders = Builders(resources, self.reward, self.verifier)
        self.composed: Mapping[str, Callable[[dict[str, Any], str], Reward]] = {
            "gated": self._gated,
            "weighted": self._weighted,
        }

    def reward(self, config: object, where: str) -> Reward:
        settings, kind = self._kind(config, where, "a reward")
        if kind in self.composed:
            return self.composed[kind](settings, where)
        if kind in kinds("answer"):
            return self._verified(kind, settings, where)
        reward = construct(self._factory(kind, where), settings, where, self.builders)
        if isinstance(reward, Verifier):
            return Verified(reward)
        if not isinstance(reward, Reward):
            raise ConfigError(
                f"{kind} is not a reward",
                where=f"{where}.kind",
                fix="a reward has a `name` and `async def score(self, episode) -> Score`",
            )
        return reward

    def verifier(self, config: object, where: str) -> Verifier:
        settings, kind = self._kind(config, where, "a verifier")
        found = kinds("answer")
        if kind not in found and ":" not in kind:
            raise unknown("verifier", kind, found, f"{where}.kind")
        factory = found[kind].load() if kind in found else self._factory(kind, where)
        verifier = construct(factory, settings, where, self.builders)
        if not isinstance(verifier, Verifier):
            raise ConfigError(
                f"{kind} is not a verifier",
                where=f"{where}.kind",
                fix="a verifier has a `name` and `async def verify(self, item) -> Score`",
            )
        return verifier

    def entry(self, config: object, where: str, scope: str) -> Any:
        """A group reward or a transform."""
        settings, kind = self._kind(config, where, f"a {scope} entry")
        found = kinds(scope)
        if kind not in found and ":" not in kind:
            raise unknown(f"{scope} kind", kind, found, f"{where}.kind")
        factory = found[kind].load() if kind in found else self._factory(kind, where)
        return construct(factory, settings, where, self.builders)

    def _kind(self, config: object, where: str, what: str) -> tuple[dict[str, Any], str]:
        settings = mapping(config, where)
        kind = settings.pop("kind", None)
        if not isinstance(kind, str):
            raise ConfigError(
                f"{what} needs a 'kind'", where=where, fix=f"one of: {', '.join(self._names())}"
            )
        return settings, kind

    def _names(self) -> list[str]:
        return sorted([*kinds(*EPISODE_SCOPES), *self.composed])

    def _factory(self, kind: str, where: str) -> Callable[..., Any]:
        found = kinds(*EPISODE_SCOPES)
        if kind in found:
            return found[kind].load()
        if ":" not in kind:
            raise unknown("reward kind", kind, self._names(), f"{where}.kind")
        factory: Callable[..., Any] = named(kind, f"{where}.kind")
        return factory

    def _verified(self, kind: str, settings: dict[str, Any], where: str) -> Reward:
        """A verifier with the keys of `Verified` beside its own."""
        hints = get_type_hints(Verified.__init__)
        keys = {
            key: checked(hints[key], settings.pop(key), f"{where}.{key}")
            for key in _VERIFIED_KEYS
            if key in settings
        }
        verifier = construct(kinds("answer")[kind].load(), settings, where, self.builders)
        return Verified(verifier, **keys)

    def _gated(self, settings: dict[str, Any], where: str) -> Reward:
        known(settings, ("outcome", "above", "steps", "levels", "mode", "name"), where)
        levels = (
            self._stated(settings, where)
            if "levels" in settings
            else self._shorthand(settings, where)
        )
        mode = checked(Mode, settings.get("mode", "gated"), f"{where}.mode")
        name = checked(str, settings.get("name", "gated"), f"{where}.name")
        return Gated(levels, mode, name)

    def _stated(self, settings: dict[str, Any], where: str) -> list[Level]:
        both = [key for key in ("outcome", "above", "steps") if key in settings]
        if both:
            raise ConfigError(
                f"{both[0]!r} cannot stand beside 'levels'",
                where=f"{where}.{both[0]}",
                fix="give every level its own `priority` and `above`",
            )
        return self._levels(settings["levels"], f"{where}.levels")

    def _shorthand(self, settings: dict[str, Any], where: str) -> list[Level]:
        """One outcome above a list of step rewards."""
        if "outcome" not in settings:
            raise ConfigError(
                "a gated reward needs an 'outcome' (or 'levels')",
                where=where,
                fix="outcome: {kind: tests_pass}",
            )
        outcome = mapping(settings["outcome"], f"{where}.outcome")
        if "above" in settings:
            outcome.setdefault("above", settings["above"])
        steps = self._levels(settings.get("steps", []), f"{where}.steps")
        highest = max((level.priority for level in steps), default=0)
        return [self._level(outcome, f"{where}.outcome", priority=highest + 1), *steps]

    def _weighted(self, settings: dict[str, Any], where: str) -> Reward:
        known(settings, ("parts", "name"), where)
        name = checked(str, settings.get("name", "weighted"), f"{where}.name")
        return Weighted(self._levels(settings.get("parts", []), f"{where}.parts"), name)

    def _levels(self, config: object, where: str) -> list[Level]:
        if not isinstance(config, list):
            raise ConfigError(
                f"expected a list of rewards, found {type(config).__name__}",
                where=where,
                fix="[{kind: format_ok, weight: 0.1}, ...]",
            )
        return [self._level(item, f"{where}[{i}]", priority=0) for i, item in enumerate(config)]

    def _level(self, config: object, where: str, *, priority: int) -> Level:
        settings = mapping(config, where)
        hints = get_type_hints(Level)
        keys = {
            key: checked(hints[key], settings.pop(key), f"{where}.{key}")
            for key in _LEVEL_KEYS
            if key in settings
        }
        return Level(self.reward(settings, where), **{"priority": priority, **keys})


def _list(config: object, where: str) -> list[Any]:
    if not isinstance(config, list):
        raise ConfigError(
            f"expected a list, found {type(config).__name__}", where=where, fix="[{kind: ...}, ...]"
        )
    return config


def _refuse_doubles(names: Sequence[str], where: str) -> None:
    """Scores are kept by name: two critics of one name would hide each other."""
    seen: set[str] = set()
    for name in names:
        if name in seen or name == "reward":
            raise ConfigError(
                f"{'the name' if name == 'reward' else 'a second reward is called'} {name!r}"
                + (" is kept for the whole" if name == "reward" else ""),
                where=where,
                fix="give one of them a `name`",
            )
        seen.add(name)


def _tree(reward: Reward) -> list[Reward]:
    """A reward and all it is made of, the parts first."""
    return [*(r for part in getattr(reward, "parts", []) for r in _tree(part)), reward]


def _names(reward: Reward) -> list[str]:
    return [part.name for part in _tree(reward)]
