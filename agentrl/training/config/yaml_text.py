"""YAML as people write it: line numbers, no doubled keys, and 1e-6 is a number."""

from __future__ import annotations

import re
from typing import Any

import yaml

from agentrl.core import ConfigError

Path = tuple[str | int, ...]


class _Loader(yaml.SafeLoader):
    """YAML 1.1 reads 1e-6 as text, for want of a dot; YAML 1.2 and people read a number."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\d[\d_]*)(?:\.\d*)?[eE][-+]?\d+$"),
    list("-+0123456789"),
)


def parse(text: str, where: str) -> tuple[Any, dict[Path, int]]:
    """The value of a YAML document, and the line (from 1) that each key or item stands on.

    Raises:
        ConfigError: a syntax error, or a key that is given twice, with its line.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None, {}
        lines: dict[Path, int] = {}
        _locate(node, (), lines, where)
        return loader.construct_document(node), lines
    except RecursionError as error:
        what = "not valid YAML: nested too deeply, or an alias that holds itself"
        raise ConfigError(what, where=where) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = f"{where}:{mark.line + 1}" if mark else where
        what = " ".join(filter(None, (error.context, error.problem)))
        raise ConfigError(f"not valid YAML: {what}", where=at, fix="correct the line") from error
    except yaml.YAMLError as error:
        what = str(error).splitlines()[0]
        raise ConfigError(f"not valid YAML: {what}", where=where) from error


def _locate(node: yaml.Node, path: Path, lines: dict[Path, int], where: str) -> None:
    if isinstance(node, yaml.SequenceNode):
        for i, item in enumerate(node.value):
            lines[(*path, i)] = item.start_mark.line + 1
            _locate(item, (*path, i), lines, where)
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here, line = (*path, str(key.value)), key.start_mark.line + 1
            if here in lines:
                raise ConfigError(
                    f"{dotted(here)} is given twice (first on line {lines[here]})",
                    where=f"{where}:{line}",
                    fix="remove one of them",
                )
            lines[here] = line
            _locate(value, here, lines, where)


def dotted(path: Path) -> str:
    """`reward.steps[0].weight`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")
