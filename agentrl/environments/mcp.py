"""An environment whose tools are those of MCP servers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from agentrl.core import ConfigError, Episode, Task
from agentrl.environments.base import Environment
from agentrl.tools import Tool
from agentrl.tools.mcp import McpServer


class McpEnvironment(Environment):
    """Servers are started for every episode and ended with it, so that no state is shared.

    Args:
        servers: settings of `McpServer`, such as {"command": ["mcp-server-time"]} or {"url": ".."}.
    """

    def __init__(self, *, servers: Sequence[Mapping[str, Any]]) -> None:
        try:
            self._servers = [McpServer(**settings) for settings in servers]
        except TypeError as error:
            raise ConfigError(
                f"the settings of an MCP server are wrong: {error}",
                where="environment.args.servers",
            ) from error
        self._offered: dict[str, Tool] = {}

    @property
    def tools(self) -> dict[str, Tool]:
        return {**super().tools, **self._offered}

    async def reset(self, task: Task) -> str:
        """Raises InfraError("mcp_lost"), ConfigError: two servers have a tool of the same name."""
        await asyncio.gather(*(server.start() for server in self._servers))
        for server in self._servers:
            for name, offered in server.tools.items():
                if name in self._offered:
                    raise ConfigError(
                        f"two servers have a tool {name!r}",
                        where=server.name,
                        fix="leave one out with `only`",
                    )
                self._offered[name] = offered
        return task.prompt

    async def finish(self, episode: Episode) -> dict[str, Any]:
        """{"answer": the last message without calls, "calls", "failed_calls"}."""
        results = [result for turn in episode.turns for result in turn.results]
        said = [turn.text for turn in episode.turns if not turn.calls]
        return {
            "answer": said[-1] if said else "",
            "calls": len(results),
            "failed_calls": sum(not result.ok for result in results),
        }

    async def close(self) -> None:
        await super().close()
        await asyncio.gather(*(server.close() for server in self._servers))
