"""Rewards from the `reward:` section of a run file."""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from agentrl.core import ConfigError, Reward
from agentrl.rewards.compose import Gated, Level, Mode, Weighted
from agentrl.rewards.outcome import Submitted, TestsPass
from agentrl.rewards.search import AnswerF1, ClaimReward, ContextReward, ExactMatch
from agentrl.rewards.turns import FormatOk, ToolOk

Builder = Callable[[dict[str, Any], str], Reward]

_CRITICS: Mapping[str, Callable[..., Reward]] = {
    "tests_pass": TestsPass,
    "submitted": Submitted,
    "format_ok": FormatOk,
    "tool_ok": ToolOk,
    "exact_match": ExactMatch,
    "answer_f1": AnswerF1,
    "claim": ClaimReward,
    "context": ContextReward,
}
_LEVEL_KEYS = ("priority", "above", "weight", "scope")


def build_reward(config: Mapping[str, Any], *, where: str = "reward") -> Reward:
    """The reward that a run file describes.

    A critic is `{kind: NAME, ...its settings}`; NAME may be `package.module:Name` of your own.
    Composed kinds:

        {kind: gated, outcome: CRITIC, above: 0.0, steps: [CRITIC + level keys, ...]}
        {kind: gated, levels: [CRITIC + level keys, ...]}        any number of priorities
        {kind: weighted, parts: [CRITIC + weight, scope, ...]}

    Level keys are `priority`, `above`, `weight` and `scope` (sum or mean); `gated` also takes
    `mode` (gated or direct).

    Raises:
        ConfigError: with the path of the key, what is allowed and the nearest name.
    """
    reward = _build(config, where)
    _refuse_double_names(reward, where)
    return reward


def _build(config: object, where: str) -> Reward:
    settings = _mapping(config, where)
    kind = settings.pop("kind", None)
    if not isinstance(kind, str):
        raise ConfigError(
            "a reward needs a 'kind'", where=where, fix=f"one of: {', '.join(_kinds())}"
        )
    if kind in _COMPOSED:
        return _COMPOSED[kind](settings, where)
    return _construct(_critic(kind, where), settings, where)


def _kinds() -> list[str]:
    return sorted([*_CRITICS, *_COMPOSED])


def _critic(kind: str, where: str) -> Callable[..., Reward]:
    if kind in _CRITICS:
        return _CRITICS[kind]
    if ":" not in kind:
        raise _unknown("reward kind", kind, _kinds(), f"{where}.kind")
    module, _, name = kind.partition(":")
    try:
        found: Callable[..., Reward] = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"cannot import {kind!r}: {error}",
            where=f"{where}.kind",
            fix="write package.module:Name of something that can be imported from here",
        ) from error
    return found


def _construct(factory: Callable[..., Reward], settings: dict[str, Any], where: str) -> Reward:
    """Call `factory` with settings checked against its signature and annotations."""
    parameters = inspect.signature(factory).parameters
    hints = get_type_hints(factory.__init__ if inspect.isclass(factory) else factory)
    for key in settings:
        if key not in parameters:
            raise _unknown("setting", key, parameters, f"{where}.{key}")
    checked = {k: _value(hints.get(k, Any), v, f"{where}.{k}") for k, v in settings.items()}
    missing = [
        name
        for name, p in parameters.items()
        if name not in checked
        and p.default is p.empty
        and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    ]
    if missing:
        raise ConfigError(f"needs {', '.join(missing)}", where=where, fix=f"add {missing[0]}: ...")
    reward = factory(**checked)
    if not isinstance(reward, Reward):
        raise ConfigError(
            f"{factory.__qualname__} is not a reward",
            where=f"{where}.kind",
            fix="a reward has a `name` and `async def score(self, episode) -> Score`",
        )
    return reward


def _value(annotation: Any, value: Any, where: str) -> Any:
    try:
        checked = TypeAdapter(annotation).validate_python(value)
    except ValidationError as error:
        raise ConfigError(
            f"{value!r}: {error.errors()[0]['msg']}", where=where, fix="correct the value"
        ) from error
    if isinstance(checked, float) and not math.isfinite(checked):
        raise ConfigError(f"{value!r} is not a finite number", where=where, fix="give a number")
    return checked


def _gated(settings: dict[str, Any], where: str) -> Reward:
    _known(settings, ("outcome", "above", "steps", "levels", "mode", "name"), where)
    levels = _stated(settings, where) if "levels" in settings else _shorthand(settings, where)
    mode = _value(Mode, settings.get("mode", "gated"), f"{where}.mode")
    name = _value(str, settings.get("name", "gated"), f"{where}.name")
    return Gated(levels, mode, name)


def _stated(settings: dict[str, Any], where: str) -> list[Level]:
    both = [key for key in ("outcome", "above", "steps") if key in settings]
    if both:
        raise ConfigError(
            f"{both[0]!r} cannot stand beside 'levels'",
            where=f"{where}.{both[0]}",
            fix="give every level its own `priority` and `above`",
        )
    return _levels(settings["levels"], f"{where}.levels")


def _shorthand(settings: dict[str, Any], where: str) -> list[Level]:
    """One outcome above a list of step rewards."""
    if "outcome" not in settings:
        raise ConfigError(
            "a gated reward needs an 'outcome' (or 'levels')",
            where=where,
            fix="outcome: {kind: tests_pass}",
        )
    outcome = _mapping(settings["outcome"], f"{where}.outcome")
    if "above" in settings:
        outcome.setdefault("above", settings["above"])
    steps = _levels(settings.get("steps", []), f"{where}.steps")
    highest = max((level.priority for level in steps), default=0)
    return [_level(outcome, f"{where}.outcome", priority=highest + 1), *steps]


def _weighted(settings: dict[str, Any], where: str) -> Reward:
    _known(settings, ("parts", "name"), where)
    name = _value(str, settings.get("name", "weighted"), f"{where}.name")
    return Weighted(_levels(settings.get("parts", []), f"{where}.parts"), name)


_COMPOSED: Mapping[str, Builder] = {"gated": _gated, "weighted": _weighted}


def _levels(config: object, where: str) -> list[Level]:
    if not isinstance(config, list):
        raise ConfigError(
            f"expected a list of rewards, found {type(config).__name__}",
            where=where,
            fix="[{kind: format_ok, weight: 0.1}, ...]",
        )
    return [_level(item, f"{where}[{i}]", priority=0) for i, item in enumerate(config)]


def _level(config: object, where: str, *, priority: int) -> Level:
    settings = _mapping(config, where)
    hints = get_type_hints(Level)
    keys = {
        key: _value(hints[key], settings.pop(key), f"{where}.{key}")
        for key in _LEVEL_KEYS
        if key in settings
    }
    return Level(_build(settings, where), **{"priority": priority, **keys})


def _mapping(config: object, where: str) -> dict[str, Any]:
    if not isinstance(config, Mapping):
        raise ConfigError(
            f"expected a mapping, found {type(config).__name__} {config!r}",
            where=where,
            fix="write it as {kind: NAME, ...}",
        )
    return {str(key): value for key, value in config.items()}


def _known(settings: dict[str, Any], allowed: Iterable[str], where: str) -> None:
    for key in settings:
        if key not in allowed:
            raise _unknown("setting", key, allowed, f"{where}.{key}")


def _unknown(what: str, name: str, allowed: Iterable[str], where: str) -> ConfigError:
    names = sorted(allowed)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return ConfigError(
        f"unknown {what} {name!r}", where=where, fix=f"{hint}one of: {', '.join(names)}"
    )


def _refuse_double_names(reward: Reward, where: str) -> None:
    """Scores are kept by name: two critics of one name would hide each other."""
    seen: set[str] = set()
    for name in _names(reward):
        if name in seen or name == "reward":
            raise ConfigError(
                f"{'the name' if name == 'reward' else 'a second reward is called'} {name!r}"
                + (" is kept for the whole" if name == "reward" else ""),
                where=where,
                fix="give one of them a `name`",
            )
        seen.add(name)


def _names(reward: Reward) -> list[str]:
    below = [n for part in getattr(reward, "parts", []) for n in _names(part)]
    return [reward.name, *below]
