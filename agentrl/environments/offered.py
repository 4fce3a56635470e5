"""Which of an environment's tools the policy is offered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agentrl.core import ConfigError
from agentrl.tools import Tool


def chosen(tools: Mapping[str, Tool], names: Sequence[str] | None) -> dict[str, Tool]:
    """The named tools in that order, all of them for None. Raises ConfigError."""
    if names is None:
        return dict(tools)
    unknown = [name for name in names if name not in tools]
    if unknown:
        raise ConfigError(
            f"unknown tool: {', '.join(unknown)}",
            where="environment.tools",
            fix=f"allowed: {', '.join(tools)}",
        )
    return {name: tools[name] for name in names}
