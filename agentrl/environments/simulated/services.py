"""Stateful services as Python classes, and their state as a value that can be compared."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from agentrl.core import Check, Episode, Score

_DEEPEST = 100


class Service:
    """Write `@tool` methods and keep the state in attributes; those with a leading _ are private.

    Args:
        state: the attributes to begin with; copied, so that tasks may share it.
    """

    def __init__(self, state: Mapping[str, Any] | None = None) -> None:
        for name, value in (state or {}).items():
            setattr(self, name, copy.deepcopy(value))


def snapshot(service: object) -> dict[str, Any]:
    """The public state of an object as JSON values: equal states have equal snapshots.

    Objects inside are taken by their own public attributes, sets in order; one that contains
    itself is named at its second appearance.
    """
    plain = _plain(service, ())
    assert isinstance(plain, dict)
    return plain


def _plain(value: Any, inside: tuple[int, ...]) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if id(value) in inside or len(inside) > _DEEPEST:
        return f"<{type(value).__name__} again>"
    inside = (*inside, id(value))
    if isinstance(value, Mapping):
        return {str(k): _plain(v, inside) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, inside) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((_plain(item, inside) for item in value), key=repr)
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name), inside) for f in fields(value)}
    if hasattr(value, "__dict__"):
        public = {k: v for k, v in vars(value).items() if not k.startswith("_")}
        return {k: _plain(v, inside) for k, v in public.items()}
    return str(value)


def digest(state: Mapping[str, Any]) -> str:
    """A short name of a snapshot: equal for equal ones."""
    text = json.dumps(state, sort_keys=True, ensure_ascii=False)
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=12).hexdigest()


def differences(found: Any, wanted: Any, path: str = "") -> list[str]:
    """Where two snapshots differ, as "path: found, not wanted"."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        keys = dict.fromkeys([*wanted, *found])
        pairs = ((k, found.get(k), wanted.get(k)) for k in keys)
        return [d for k, a, b in pairs for d in differences(a, b, f"{path}.{k}".lstrip("."))]
    if type(found) is type(wanted) and found == wanted:
        return []
    return [] if found == wanted else [f"{path}: {_short(found)}, not {_short(wanted)}"]


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}..."


@dataclass(slots=True)
class StateMatch:
    """1 when the services ended in the state they should, and every output was told to the user.

    Reads `outcome["state"]`, `["wanted_state"]`, `["missing_outputs"]`.
    """

    name: str = "state_match"

    async def score(self, episode: Episode) -> Score:
        outcome = episode.outcome
        if outcome.get("wanted_state") is None:
            return Score(abstained=True, evidence="the task does not say what state is wanted")
        wrong = differences(outcome["state"], outcome["wanted_state"])
        missing = outcome.get("missing_outputs", [])
        checks = [
            Check("state", float(not wrong), not wrong, "; ".join(wrong[:5])),
            Check("outputs", float(not missing), not missing, ", ".join(missing[:5])),
        ]
        return Score(float(not wrong and not missing), checks)
