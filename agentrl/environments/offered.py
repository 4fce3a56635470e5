"""Which tools the policy is offered: an environment's own, some of them, or a scaffold's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from agentrl.core import ConfigError, Sandbox
from agentrl.tools import Tool, preset


def offered(
    own: Mapping[str, Tool],
    names: str | Sequence[str] | None,
    sandbox: Sandbox,
    root: str,
    on_submit: Callable[[], None],
    *,
    env: Mapping[str, str] | None = None,
) -> dict[str, Tool]:
    """For one episode; what a preset's tools remember is theirs alone.

    Args:
        names: a preset of `agentrl.tools.preset`; or names of own tools; None for all own ones.
        root, on_submit, env: see `preset`.

    Raises:
        ConfigError: a name is unknown.
    """
    if isinstance(names, str):
        return preset(names, sandbox, root, on_submit, env=env)
    return chosen(own, names)


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
