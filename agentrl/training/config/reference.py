"""The tables of docs/run-file.md, made from the sections: `python -m agentrl.training.config`."""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Iterator
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from agentrl.learner import PRESETS
from agentrl.training.config.sections import RunConfig, kinds, section_of

_INTRO = """\
# The run file

One YAML file says everything about a run: `agentrl train run.yaml`. Any key can be overridden on
the command line with dots, values being YAML: `learner.group_size=16 run.dir=runs/second`
(items of lists by number: `reward.steps.0.weight=0.2`). Paths are relative to the current
directory. Unknown keys and bad values are refused, all at once, with their line, what is allowed
and the nearest name; the resolved file is kept as `run.yaml` in the run directory.

A whole file that is complete:

```yaml
model: Qwen/Qwen3-0.6B
environment: {kind: swe, sandbox: {kind: docker, pool: 16}}
tasks: {train: tasks/train.jsonl, eval: tasks/train.held_out.jsonl}
reward:
  kind: gated
  outcome: {kind: tests_pass}
  above: 0.0
  steps: [{kind: format_ok, weight: 0.1}, {kind: tool_ok, weight: 0.1}]
learner: {algorithm: grpo, group_size: 8, learning_rate: 1.0e-6}
train: {steps: 200, eval_every: 20}
```

The tables below are made from the code (`python -m agentrl.training.config > docs/run-file.md`).
"""


def reference() -> str:
    """docs/run-file.md."""
    parts = [_INTRO]
    for name, field in RunConfig.model_fields.items():
        found = list(_sections(name, field.annotation))
        parts += found or [f"## {name}\n\n{field.description}\n"]
    parts.append(_algorithms())
    # Both environments have the same sandboxes: one table is enough.
    return "\n".join(dict.fromkeys(parts))


def _sections(path: str, annotation: Any) -> Iterator[str]:
    """A table for every section in an annotation, then for the sections inside those."""
    members = kinds(annotation)
    for kind, member in members.items():
        yield f"## {path}: {{kind: {kind}}}\n\n{_table(member)}"
    models = list(members.values())
    if not members and (model := section_of(annotation)) is not None:
        path = f"{path}.NAME" if get_origin(annotation) is dict else path
        path = f"{path}[N]" if get_origin(annotation) in (list, tuple) else path
        yield f"## {path}\n\n{_table(model)}"
        models = [model]
    for model in models:
        for name, field in model.model_fields.items():
            yield from _sections(f"{path}.{name}", field.annotation)


def _table(model: type[BaseModel]) -> str:
    documented = inspect.getdoc(model) or ""
    lines = [documented.split("\nAttributes:")[0].strip(), ""]
    lines += ["| key | values | default | what |", "| --- | --- | --- | --- |"]
    lines += [" | ".join(("", *map(_cell, row), "")).strip() for row in _rows(model, documented)]
    return "\n".join(lines) + "\n"


def _rows(model: type[BaseModel], documented: str) -> Iterator[tuple[str, str, str, str]]:
    attributes = _attributes(documented)
    for name, field in model.model_fields.items():
        if name == "kind":
            continue
        default = "(needed)" if field.is_required() else _default(field.get_default())
        if field.default_factory is not None:
            default = ""
        about = field.description or attributes.get(name, "")
        yield f"`{name}`", _values(field.annotation, field.metadata), default, about


def _attributes(documented: str) -> dict[str, str]:
    """Descriptions in an `Attributes:` section; `a, b: text` gives both the text."""
    section = documented.partition("Attributes:\n")[2]
    found: dict[str, str] = {}
    for entry in re.split(r"\n(?=    \w)", "\n" + section):
        names, colon, text = entry.strip().partition(":")
        if colon and re.fullmatch(r"[\w, ]+", names):
            flat = " ".join(text.split())
            found |= {name.strip(): flat for name in names.split(",")}
    return found


def _default(value: Any) -> str:
    if isinstance(value, BaseModel):
        changed = value.model_dump(exclude_defaults=True)
        kind = f"{{kind: {value.kind}}}" if hasattr(value, "kind") else "its defaults"
        return kind if not changed else f"`{changed}`"
    if isinstance(value, dict | tuple | list):
        return "none" if not value else "see code"
    return "" if value == "" else f"`{'null' if value is None else str(value).lower()}`"


def _values(annotation: Any, metadata: list[Any]) -> str:
    members = kinds(annotation)
    if members:
        return "kind: " + ", ".join(members)
    origin = get_origin(annotation)
    if origin is Literal:
        return ", ".join(f"`{a}`" if a != "" else '`""`' for a in get_args(annotation))
    if origin in (Union, types.UnionType):
        parts = [_values(a, []) for a in get_args(annotation) if a is not type(None)]
        text = " or ".join(dict.fromkeys(part.removesuffix(" or null") for part in parts))
        return text + _bounds(metadata) + (" or null" if type(None) in get_args(annotation) else "")
    if hasattr(annotation, "__metadata__"):
        return _values(annotation.__origin__, list(annotation.__metadata__))
    names = {int: "whole number", float: "number", str: "text", bool: "true, false"}
    if annotation in names:
        return names[annotation] + _bounds(metadata)
    if origin in (list, tuple):
        return "list"
    return "mapping"


def _bounds(metadata: list[Any]) -> str:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    flat = [inner for mark in metadata for inner in getattr(mark, "metadata", [mark])]
    found = [
        f"{sign} {getattr(mark, name)}"
        for mark in flat
        for name, sign in signs.items()
        if hasattr(mark, name)
    ]
    return f" {', '.join(found)}" if found else ""


def _algorithms() -> str:
    names = ", ".join(f"`{name}`" for name in sorted(PRESETS))
    return f"## Algorithms\n\n`learner.algorithm` is one of {names}; keys beside it override it.\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
