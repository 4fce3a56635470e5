"""The state of an environment that lives in Python, as a deep copy that can be put into another."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from agentrl.core import NoSnapshot, Sandbox

_HANDLES = ("close", "aclose", "fileno", "__aexit__", "__exit__")


class _Mark:
    """Stands in a kept state for what every environment has of its own."""


@dataclass(slots=True)
class PythonState:
    """Attributes by name; marks stand for the environment itself and for what is shared."""

    attributes: dict[str, Any]
    marks: dict[str, _Mark]


def take(environment: object, shared: tuple[str, ...]) -> PythonState:
    """A copy of all attributes but the shared ones.

    Raises:
        NoSnapshot: an attribute holds something outside Python (it can be closed), or cannot be
            copied.
    """
    own = vars(environment)
    marks = {name: _Mark() for name in ("", *shared)}
    memo: dict[int, Any] = {id(environment): marks[""]}
    memo |= {id(own[name]): marks[name] for name in shared if own.get(name) is not None}
    kept = {name: value for name, value in own.items() if name not in shared}
    for name, value in kept.items():
        for part in value if isinstance(value, list | tuple) else (value,):
            if _is_handle(part):
                raise _cannot(environment, name, f"a {type(part).__name__} is more than a value")
    return PythonState({n: _copied(environment, n, v, memo) for n, v in kept.items()}, marks)


def put(state: PythonState, environment: object) -> None:
    """The state, copied once more, in the place of the environment's own."""
    memo: dict[int, Any] = {id(state.marks[""]): environment}
    for name, mark in state.marks.items():
        if name:
            memo[id(mark)] = getattr(environment, name, None)
    for name, value in state.attributes.items():
        setattr(environment, name, copy.deepcopy(value, memo))


def _copied(environment: object, name: str, value: Any, memo: dict[int, Any]) -> Any:
    try:
        return copy.deepcopy(value, memo)
    except Exception as error:  # the boundary to objects of users' own types
        raise _cannot(environment, name, f"{type(error).__name__}: {error}") from error


def _is_handle(value: Any) -> bool:
    return isinstance(value, Sandbox) or any(hasattr(value, name) for name in _HANDLES)


def _cannot(environment: object, name: str, why: str) -> NoSnapshot:
    kind = type(environment).__qualname__
    return NoSnapshot(
        f"the attribute {name!r} cannot be copied: {why}",
        where=kind,
        fix=f"name it in {kind}.shared if it holds no state of the episode, or write `snapshot` "
        "and `restore`; until then recorded calls are replayed",
    )
