"""Python names that outside data holds: `module:Name` in run files."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

from agentrl.core.errors import ConfigError


def named(name: str, where: str) -> Any:
    """What `module:Name` stands for; the current directory is searched too.

    Raises:
        ConfigError: with `where`, when it is not of that form or cannot be imported.
    """
    module, _, attribute = name.partition(":")
    if not attribute:
        raise ConfigError(f"{name!r} is not module:Name", where=where, fix="such as my_agent:Agent")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        found: Any = import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"cannot import {name!r}: {error}",
            where=where,
            fix="give a module that can be imported from the current directory, and a name in it",
        ) from error
    return found
