"""Environments behind OpenEnv servers, by their WebSocket protocol.

-> {"type": "reset", "data": {..}}     <- {"type": "observation", "data": {"observation": {..},
-> {"type": "step", "data": ACTION}        "reward": 1.0, "done": false}}
-> {"type": "close"}                   or {"type": "error", "data": {"message": ".."}}
"""

from __future__ import annotations

import json
from typing import Any

from agentrl.core import Episode, InfraError, Task
from agentrl.environments.base import Environment
from agentrl.tools import Tool, ToolError, given_tool

# As with tools of our own: what raises is read by the policy.
_REFUSED = ("VALIDATION_ERROR", "EXECUTION_ERROR")


class OpenEnvEnvironment(Environment):
    """One session of a server; its action schema becomes the tool `act`.

    Args:
        url: of the server, such as http://127.0.0.1:8000.
        seconds: of one exchange.
    """

    def __init__(self, *, url: str, seconds: float = 60.0) -> None:
        self._url, self._seconds = url.rstrip("/"), seconds
        self._http: Any = None
        self._socket: Any = None
        self._offered: dict[str, Tool] = {}
        self._rewards: list[float] = []

    @property
    def tools(self) -> dict[str, Tool]:
        return self._offered

    async def reset(self, task: Task) -> str:
        """The prompt and the first observation. `payload["reset"]` is sent along.

        Raises InfraError("environment_lost").
        """
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=self._seconds)
        self._http = aiohttp.ClientSession(timeout=timeout)
        try:
            async with self._http.get(f"{self._url}/schema") as response:
                schema = (await response.json())["action"]
            self._socket = await self._http.ws_connect(f"{self._url}/ws".replace("http", "ws", 1))
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError, KeyError) as error:
            raise self._lost(f"{type(error).__name__}: {error}") from error
        parameters = {k: v for k, v in schema.items() if k not in ("title", "description")}
        spec = {
            "name": "act",
            "description": schema.get("description", "Act in the environment."),
            "parameters": parameters,
        }
        self._offered = {
            "act": given_tool(spec, self._act, checked=False, timeout=self._seconds + 5)
        }
        data = await self._ask({"type": "reset", "data": task.payload.get("reset", {})})
        return f"{task.prompt}\n{_words(data['observation'])}".strip()

    async def finish(self, episode: Episode) -> dict[str, Any]:
        """{"return": the sum of the rewards, "rewards": by action}."""
        return {"return": sum(self._rewards), "rewards": self._rewards}

    async def close(self) -> None:
        if self._socket is not None and not self._socket.closed:
            await self._socket.send_str(json.dumps({"type": "close"}))
            await self._socket.close()
        if self._http is not None:
            await self._http.close()

    async def _act(self, arguments: dict[str, Any]) -> str:
        data = await self._ask({"type": "step", "data": arguments})
        self._rewards.append(float(data.get("reward") or 0.0))
        self.done = bool(data.get("done"))
        return _words(data["observation"])

    async def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """The data of an observation; an action that the server refuses is the policy's doing."""
        import aiohttp

        try:
            await self._socket.send_str(json.dumps(message))
            answer = await self._socket.receive_json(timeout=self._seconds)
        except (aiohttp.ClientError, TypeError, ValueError, TimeoutError, OSError) as error:
            raise self._lost(f"{type(error).__name__}: {error}") from error
        data: dict[str, Any] = answer.get("data", {})
        if answer.get("type") == "error":
            if message["type"] == "step" and data.get("code") in _REFUSED:
                raise ToolError(str(data.get("message")))
            raise self._lost(str(data.get("message")))
        return data

    def _lost(self, why: str) -> InfraError:
        return InfraError("environment_lost", f"the OpenEnv server failed: {why}", where=self._url)


def _words(observation: Any) -> str:
    """An observation of one text is that text, everything else is JSON."""
    if isinstance(observation, dict):
        shown = {k: v for k, v in observation.items() if v not in (None, "", [], {})}
        texts = [v for v in shown.values() if isinstance(v, str)]
        if len(shown) == 1 and texts:
            return texts[0]
        return json.dumps(shown, ensure_ascii=False)
    return str(observation)
