"""JSON: valid under a schema, and equal to a reference."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from agentrl.core import Check, Score
from agentrl.rewards.verifiers.base import Item, too_long, verdict

_FENCE = re.compile(r"^```(?:json)?\s*\n(.*)\n```$", re.DOTALL)
_DEEPEST = 50


@dataclass(slots=True)
class JsonSchema:
    """The answer is JSON (a fence around it is allowed) that the reference, a JSON schema,
    accepts: 1, else 0. Every violated rule is a check. Duplicate keys and NaN are refused."""

    name: str = "json_schema"

    async def verify(self, item: Item) -> Score:
        import jsonschema

        if (long := too_long(item.answer)) is not None:
            return long
        value, problem = read_json(item.answer)
        if problem:
            return verdict(False, problem)
        try:
            validator = jsonschema.Draft202012Validator(item.reference)
            errors = sorted(validator.iter_errors(value), key=lambda e: e.json_path)
        except Exception as error:  # noqa: BLE001 - a reference that is no schema raises anything
            return Score(abstained=True, evidence=f"the reference is no JSON schema: {error}")
        checks = [Check(e.json_path, 0.0, False, e.message[:200]) for e in errors[:20]]
        return Score(float(not errors), checks, evidence=f"{len(errors)} violations")


@dataclass(slots=True)
class JsonEqual:
    """The answer is JSON equal to the reference: key order does not matter, 1 and 1.0 are equal,
    true and 1 are not."""

    name: str = "json_equal"

    async def verify(self, item: Item) -> Score:
        if (long := too_long(item.answer)) is not None:
            return long
        value, problem = read_json(item.answer)
        if problem:
            return verdict(False, problem)
        return verdict(same_json(value, item.reference))


def read_json(text: str) -> tuple[Any, str]:
    """(value, "") or (None, what is wrong)."""
    text = text.strip()
    fenced = _FENCE.match(text)
    try:
        value = json.loads(
            fenced[1] if fenced else text, object_pairs_hook=_no_doubles, parse_constant=_no_nan
        )
    except (ValueError, RecursionError) as error:
        return None, f"not JSON: {error}"
    return (None, "nested too deeply") if _depth(value) > _DEEPEST else (value, "")


def same_json(a: Any, b: Any) -> bool:
    if isinstance(a, bool) or isinstance(b, bool):
        return isinstance(a, bool) and isinstance(b, bool) and a == b
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same_json(a[k], b[k]) for k in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same_json, a, b))
    return (type(a) is type(b) and a == b) or (_number(a) and _number(b) and a == b)


def _number(value: Any) -> bool:
    return isinstance(value, int | float)


def _no_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _no_nan(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _depth(value: Any, depth: int = 0) -> int:
    if depth > _DEEPEST or not isinstance(value, dict | list):
        return depth
    inner = value.values() if isinstance(value, dict) else value
    return max((_depth(v, depth + 1) for v in inner), default=depth + 1)
