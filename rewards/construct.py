"""Objects from plain values, checked against the signature of what makes them."""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, is_dataclass
from typing import Any, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from agentrl.core import ChatModel, ConfigError, Reward, SandboxProvider, Scorer
from agentrl.rewards.resources import Resources
from agentrl.rewards.verifiers.base import Verifier

Make = Callable[[object, str], Any]


@dataclass(slots=True)
class Builders:
    """How values become rewards, verifiers and resources."""

    resources: Resources
    reward: Make
    verifier: Make

    def of(self, annotation: Any) -> Make | None:
        """What makes a value of this annotation; None for plain data."""
        if annotation is Reward:
            return self.reward
        if annotation is Verifier:
            return self.verifier
        if annotation is ChatModel:
            return self.resources.chat
        if get_origin(annotation) is list and (inner := self.of(get_args(annotation)[0])):
            return lambda value, where: _each(inner, value, where)
        options = [a for a in get_args(annotation) if a is not type(None)]
        if type(None) in get_args(annotation) and len(options) == 1:
            return self.of(options[0])
        if is_dataclass(annotation) and isinstance(annotation, type):
            return lambda value, where: construct(annotation, mapping(value, where), where, self)
        return None

    def given(self, annotation: Any, where: str) -> Any:
        """A resource that no run file names; None where `annotation` is none of them."""
        for kind, found in (
            (Scorer, self.resources.scorer),
            (SandboxProvider, self.resources.sandboxes),
        ):
            if annotation is kind:
                if found is None:
                    what = "the policy's log-probabilities" if kind is Scorer else "sandboxes"
                    raise ConfigError(f"needs {what}, which this run does not have", where=where)
                return found
        return None


def _each(make: Make, value: object, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise ConfigError(f"expected a list, found {type(value).__name__}", where=where)
    return [make(item, f"{where}[{i}]") for i, item in enumerate(value)]


def construct(
    factory: Callable[..., Any], settings: dict[str, Any], where: str, builders: Builders
) -> Any:
    """Call `factory` with settings checked against its signature and annotations."""
    parameters = inspect.signature(factory).parameters
    hints = get_type_hints(factory.__init__ if inspect.isclass(factory) else factory)
    named: dict[str, Any] = {}
    for name in parameters:
        found = builders.given(hints.get(name), where)
        if found is not None:
            named[name] = found
    for key, value in settings.items():
        if key not in parameters or key in named:
            raise unknown("setting", key, set(parameters) - set(named), f"{where}.{key}")
        make = builders.of(hints.get(key))
        at = f"{where}.{key}"
        named[key] = make(value, at) if make else checked(hints.get(key, Any), value, at)
    missing = [
        name
        for name, p in parameters.items()
        if name not in named
        and p.default is p.empty
        and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    ]
    if missing:
        raise ConfigError(f"needs {', '.join(missing)}", where=where, fix=f"add {missing[0]}: ...")
    try:
        return factory(**named)
    except ConfigError as error:
        raise ConfigError(error.what, where=error.where or where, fix=error.fix) from error
    except ValueError as error:
        raise ConfigError(str(error), where=where, fix="correct the settings") from error


def checked(annotation: Any, value: Any, where: str) -> Any:
    """`value` as the annotation wants it, numbers finite."""
    try:
        found = TypeAdapter(annotation).validate_python(value)
    except ValidationError as error:
        raise ConfigError(
            f"{value!r}: {error.errors()[0]['msg']}", where=where, fix="correct the value"
        ) from error
    if isinstance(found, float) and not math.isfinite(found):
        raise ConfigError(f"{value!r} is not a finite number", where=where, fix="give a number")
    return found


def mapping(config: object, where: str) -> dict[str, Any]:
    if not isinstance(config, Mapping):
        raise ConfigError(
            f"expected a mapping, found {type(config).__name__} {config!r}",
            where=where,
            fix="write it as {kind: NAME, ...}",
        )
    return {str(key): value for key, value in config.items()}


def known(settings: dict[str, Any], allowed: Iterable[str], where: str) -> None:
    for key in settings:
        if key not in allowed:
            raise unknown("setting", key, allowed, f"{where}.{key}")


def unknown(what: str, name: str, allowed: Iterable[str], where: str) -> ConfigError:
    names = sorted(allowed)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return ConfigError(
        f"unknown {what} {name!r}", where=where, fix=f"{hint}one of: {', '.join(names)}"
    )
