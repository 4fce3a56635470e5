"""Validation errors for people: the path, the line, what is allowed and the nearest name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from agentrl.guidance.presets import PRESETS as GUIDANCE
from agentrl.learner import PRESETS
from agentrl.training.config.sections import RunConfig, kinds, section_of
from agentrl.training.config.yaml_text import Path

_WORDS = {
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "string_type": "must be text",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "model_attributes_type": "must be a mapping",
    "int_from_float": "must be a whole number",
}


def problems(error: ValidationError, data: Mapping[str, Any]) -> list[tuple[Path, str]]:
    """(path, message) of every error, in the order of the file's schema."""
    return [_problem(item, data) for item in error.errors(include_url=False)]


def _problem(item: Any, data: Mapping[str, Any]) -> tuple[Path, str]:
    path, model, annotation = _follow(item["loc"], data)
    kind, value = item["type"], item.get("input")
    if kind == "extra_forbidden":
        names = model.model_fields if model else {}
        return path, f"unknown key{nearest(str(path[-1]), names)}"
    if kind == "missing":
        field = model.model_fields.get(str(path[-1])) if model else None
        about = f" ({field.description.rstrip('.')})" if field and field.description else ""
        return path, f"is missing{about}"
    if kind == "union_tag_invalid":
        given = item["ctx"]["tag"].removeprefix("kind=")
        return (*path, "kind"), f"{given!r} is not a kind{nearest(given, kinds(annotation))}"
    if kind == "union_tag_not_found":
        if not isinstance(value, Mapping):
            return path, f"must be a mapping with a kind, is {_shown(value)}"
        return (*path, "kind"), f"is missing; allowed: {', '.join(kinds(annotation))}"
    if kind == "literal_error":
        allowed = [str(a) for a in _literals(item)]
        return (
            path,
            f"must be one of a few values, is {_shown(value)}{nearest(str(value), allowed)}",
        )
    if kind == "value_error":
        if path == ("guidance",) and isinstance(value, Mapping):
            chosen = str(value.get("kind", "custom"))
            if chosen not in GUIDANCE:
                hint = nearest(chosen, GUIDANCE)
                return (*path, "kind"), f"{chosen!r} is not a kind of guidance{hint}"
        algorithm = value.get("algorithm", "grpo") if isinstance(value, Mapping) else "grpo"
        if path == ("learner",) and algorithm not in PRESETS:
            hint = nearest(str(algorithm), PRESETS)
            return (*path, "algorithm"), f"{algorithm!r} is not an algorithm{hint}"
        return path, str(item["ctx"]["error"])
    words = _WORDS.get(kind, item["msg"].replace("Input should", "must"))
    return path, f"{words}, is {_shown(value)}"


def _literals(item: Any) -> list[str]:
    parts = item["ctx"]["expected"].replace(" or ", ", ").split(", ")
    return [part.strip("'") for part in parts]


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def nearest(name: str, allowed: Iterable[str]) -> str:
    """`; did you mean X? allowed: X, Y` for a message about `name`."""
    names = list(allowed)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"{hint or ';'} allowed: {', '.join(names)}" if names else hint


def _follow(location: tuple[str | int, ...], data: Any) -> tuple[Path, type[BaseModel] | None, Any]:
    """Where in the file an error is, the section that holds it, and the field's annotation.

    Pydantic's location also names the members of unions that it chose; the file does not.
    """
    path: list[str | int] = []
    model: type[BaseModel] | None = RunConfig
    holder, annotation = model, None
    for part in location:
        if isinstance(part, str) and part.startswith("kind="):
            model = kinds(annotation).get(part.removeprefix("kind="))
            continue
        path.append(part)
        holder = model
        field = model.model_fields.get(str(part)) if model else None
        if field is not None:
            annotation = field.annotation
            model = section_of(annotation)
    return tuple(path), holder, annotation
