"""`agentrl tasks make`: tasks of the small environments, as hard as asked."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

if TYPE_CHECKING:
    from agentrl.core import Task

KINDS = {
    "maze": "maze",
    "sql": "sql",
    "verify": "verify",
    "logic": "logic",
    "beam": "beam",
    "chain": "chain",
    "world": "gui.world",
}


def add_command(actions: Any) -> None:
    make = actions.add_parser(
        "make",
        help="make tasks of a small environment",
        description="Knobs are key=value, values being YAML; an unknown one is told with those"
        " there are. The same seed gives the same tasks.",
    )
    make.add_argument("kind", choices=KINDS)
    make.add_argument("overrides", nargs="*", metavar="knob=value")
    make.add_argument("--count", type=int, default=100)
    make.add_argument("--out", type=Path, required=True, help="task file to write (.jsonl)")
    make.add_argument("--seed", type=int, default=0)
    make.set_defaults(run=_make)


def _make(options: argparse.Namespace) -> int:
    from agentrl.core.taskfile import write_tasks

    made = list(_tasks(options.kind, options.count, options.seed, options.overrides))
    write_tasks(options.out, made)
    print(f"{len(made)} tasks in {options.out}")
    return 0


def _tasks(kind: str, count: int, seed: int, given: list[str]) -> Iterator[Task]:
    maker: Callable[..., Iterator[Task]]
    maker = import_module(f"agentrl.environments.{KINDS[kind]}").make_tasks
    return maker(count, seed=seed, **_knobs(maker, given))


def _knobs(maker: Callable[..., Any], given: list[str]) -> dict[str, Any]:
    """Keyword arguments from key=value texts. Raises ConfigError."""
    import yaml
    from pydantic import TypeAdapter, ValidationError

    from agentrl.core import ConfigError

    hints = get_type_hints(maker)
    known = [
        name
        for name, p in inspect.signature(maker).parameters.items()
        if p.kind is p.KEYWORD_ONLY and name != "seed"
    ]
    knobs = {}
    for text in given:
        name, _, value = text.partition("=")
        if name not in known:
            raise ConfigError(
                f"there is no knob {name!r}", where=text, fix=f"there are: {', '.join(known)}"
            )
        try:
            knobs[name] = TypeAdapter(hints[name]).validate_python(yaml.safe_load(value))
        except (ValidationError, yaml.YAMLError) as error:
            said = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
            raise ConfigError(said, where=text, fix=f"{name} is {hints[name]}") from error
    return knobs
