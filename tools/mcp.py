"""Tools of MCP servers (Model Context Protocol), started as programs or reached over HTTP."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agentrl.core import ConfigError, Image, InfraError, ToolResult
from agentrl.tools.definition import Tool, ToolError
from agentrl.tools.given import given_tool

# JSON-RPC: unknown method, and parameters that do not fit: what was asked is wrong, not the server.
_POLICYS_FAULT = (-32601, -32602)
_LONGEST_ERROR = 500


@dataclass(slots=True)
class McpServer:
    """A connection to one server; `start` it, use `tools`, `close` it.

    The connection lives in a task of its own, so that it may be closed from another task than it
    was started from.

    Attributes:
        command: program and arguments of a server that speaks over stdin and stdout; or
        url: the address of one that speaks streamable HTTP, such as http://127.0.0.1:8000/mcp.
        env: further environment variables of the program.
        only: names of the tools to offer, None: all.
        start_seconds, call_seconds: deadlines.
    """

    command: Sequence[str] = ()
    url: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    only: Sequence[str] | None = None
    start_seconds: float = 30.0
    call_seconds: float = 60.0
    tools: dict[str, Tool] = field(default_factory=dict, init=False)
    _client: Any = field(default=None, init=False, repr=False)
    _owner: asyncio.Task[None] | None = field(default=None, init=False, repr=False)
    _stop: asyncio.Event = field(default_factory=asyncio.Event, init=False, repr=False)

    def __post_init__(self) -> None:
        if bool(self.command) == bool(self.url):
            raise ConfigError("an MCP server needs either `command` or `url`", where="mcp server")

    @property
    def name(self) -> str:
        return self.url or " ".join(self.command)

    async def start(self) -> None:
        """Connect and ask for the tools.

        Raises:
            InfraError("mcp_lost"): it cannot be started or reached, or does not answer in time.
            ConfigError: `only` names a tool that it does not have.
        """
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._owner = asyncio.create_task(self._hold(ready))
        try:
            await asyncio.wait_for(asyncio.shield(ready), self.start_seconds)
            listed = await asyncio.wait_for(self._list(), self.start_seconds)
        except TimeoutError:
            await self.close()
            raise self._lost(f"no answer within {self.start_seconds:g} s") from None
        except BaseException:
            await self.close()
            raise
        offered = {tool.name: tool for tool in listed}
        missing = [name for name in self.only or () if name not in offered]
        if missing:
            await self.close()
            raise ConfigError(
                f"the server has no tool {missing[0]!r}",
                where=self.name,
                fix=f"it has: {', '.join(offered)}",
            )
        names = offered if self.only is None else self.only
        self.tools = {name: self._tool(offered[name]) for name in names}

    async def close(self) -> None:
        """End the connection, and the program that was started; safe to call twice."""
        owner, self._owner = self._owner, None
        self._stop.set()
        if owner is not None:
            _, late = await asyncio.wait((owner,), timeout=5.0)
            for task in late:
                task.cancel()
                await asyncio.wait((task,), timeout=5.0)

    async def _hold(self, ready: asyncio.Future[None]) -> None:
        """Open the connection, keep it until it is to be closed."""
        try:
            from mcp import Client, StdioServerParameters
        except ImportError as error:
            ready.set_exception(_missing(error))
            return
        where: Any = self.url
        if self.command:
            program, *arguments = self.command
            where = StdioServerParameters(command=program, args=arguments, env=dict(self.env))
        try:
            async with Client(where, read_timeout_seconds=self.call_seconds) as client:
                self._client = client
                if not ready.done():
                    ready.set_result(None)
                await self._stop.wait()
        except Exception as error:  # noqa: BLE001  (boundary: a foreign server and its SDK)
            if not ready.done():
                ready.set_exception(self._lost(_first(error)))
        finally:
            self._client = None

    async def _list(self) -> list[Any]:
        found: list[Any] = []
        cursor: str | None = None
        while True:
            try:
                page = await self._client.list_tools(cursor=cursor)
            except Exception as error:  # boundary, as above
                raise self._lost(_first(error)) from error
            found += page.tools
            cursor = page.next_cursor
            if not cursor:
                return found

    def _tool(self, offered: Any) -> Tool:
        async def call(arguments: dict[str, Any]) -> ToolResult:
            return await self._call(offered.name, arguments)

        spec = {
            "name": offered.name,
            "description": offered.description or "",
            "parameters": offered.input_schema,
        }
        # The server checks what it is given by its own rules; its words are what the policy reads.
        return given_tool(spec, call, timeout=self.call_seconds + 5.0, checked=False)

    async def _call(self, name: str, arguments: dict[str, Any]) -> ToolResult:
        from mcp import MCPError

        if self._client is None:
            raise self._lost("the connection is closed")
        try:
            result = await self._client.call_tool(name, arguments)
        except MCPError as error:
            if error.error.code in _POLICYS_FAULT:
                raise ToolError(error.error.message) from None
            raise self._lost(_first(error)) from error
        except Exception as error:  # boundary, as above
            raise self._lost(_first(error)) from error
        text = "\n".join(block.text for block in result.content if block.type == "text")
        if result.is_error:
            raise ToolError(text or "the tool failed")
        return ToolResult(text, images=[_image(b) for b in result.content if b.type == "image"])

    def _lost(self, why: str) -> InfraError:
        return InfraError(
            "mcp_lost",
            f"the MCP server failed: {why}",
            where=self.name,
            fix="run its command by hand to see what it says",
        )


def _image(block: Any) -> Image:
    import base64

    return Image(base64.b64decode(block.data), block.mime_type)


def _first(error: BaseException) -> str:
    """The innermost first error of nested groups, in one line."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"[:_LONGEST_ERROR]


def _missing(error: ImportError) -> ConfigError:
    return ConfigError(
        f"MCP servers need the package {error.name}",
        fix=f"{sys.executable} -m pip install 'agentrl[mcp]'",
    )
