"""An environment that `agentrl serve-env` serves somewhere else, used like one of our own."""

from __future__ import annotations

import base64
from typing import Any

from agentrl.core import Episode, Image, InfraError, Message, Task, ToolResult, Turn
from agentrl.environments.base import Environment, Observation
from agentrl.tools import Tool, given_tool


class RemoteEnvironment(Environment):
    """One session of a server.

    Whatever goes wrong there or on the way is an InfraError: with the server's own cause when it
    names one, else "environment_lost".

    Args:
        url: of the server, such as http://127.0.0.1:8000.
        seconds: of one request.
    """

    def __init__(self, *, url: str, seconds: float = 300.0) -> None:
        self._url, self._seconds = url.rstrip("/"), seconds
        self._http: Any = None
        self._session = ""
        self._offered: dict[str, Tool] = {}

    @property
    def tools(self) -> dict[str, Tool]:
        return self._offered

    async def reset(self, task: Task) -> list[Message]:
        import aiohttp

        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=self._seconds))
        sent = {
            "id": task.id,
            "prompt": task.prompt,
            "payload": task.payload,
            "reference": task.reference,
            "metadata": task.metadata,
        }
        opened = await self._ask("POST", "/sessions", {"task": sent})
        self._session = opened["session"]
        self._offered = {
            spec["function"]["name"]: given_tool(spec, _elsewhere) for spec in opened["tools"]
        }
        return [_message(m) for m in opened["messages"]]

    async def step(self, turn: Turn) -> Observation:
        calls = [
            {"name": c.name, "arguments": c.arguments, "id": c.id, "error": c.error}
            for c in turn.calls
        ]
        path = f"/sessions/{self._session}/step"
        answer = await self._ask("POST", path, {"text": turn.text, "calls": calls})
        messages = [_message(m) for m in answer["messages"]]
        shown = [m.content for m in messages if m.role == "tool"]
        shown += [""] * (len(answer["results"]) - len(shown))
        turn.results = [
            ToolResult(text, r["ok"], r["error"])
            for text, r in zip(shown, answer["results"], strict=False)
        ]
        self.done = bool(answer["done"])
        return Observation(messages, self.done, answer["rewards"])

    async def finish(self, episode: Episode) -> dict[str, Any]:
        """The server's outcome, with its scores as "remote_scores"."""
        answer = await self._ask("POST", f"/sessions/{self._session}/finish", {})
        self._session = ""
        return {**answer["outcome"], "remote_scores": answer["scores"]}

    async def close(self) -> None:
        try:
            if self._session:
                await self._ask("DELETE", f"/sessions/{self._session}", {})
        finally:
            if self._http is not None:
                await self._http.close()

    async def _ask(self, method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        import aiohttp

        try:
            async with self._http.request(method, f"{self._url}{path}", json=body) as response:
                answer = await response.json()
                status = response.status
        except (aiohttp.ClientError, OSError, ValueError, TimeoutError) as error:
            raise InfraError(
                "environment_lost",
                f"{type(error).__name__}: {error}",
                where=f"{self._url}{path}",
                fix="start it: agentrl serve-env",
            ) from error
        if status >= 400:
            found = answer.get("error", {}) if isinstance(answer, dict) else {}
            cause = found.get("cause", "environment_lost")
            raise InfraError(cause, found.get("message", f"HTTP {status}"), where=self._url + path)
        found_answer: dict[str, Any] = answer
        return found_answer


async def _elsewhere(arguments: dict[str, Any]) -> Any:
    raise InfraError("environment_lost", "calls of a remote environment run in its own step")


def _message(plain: dict[str, Any]) -> Message:
    images = [Image(base64.b64decode(i["data"]), i["media_type"]) for i in plain.get("images", ())]
    return Message(
        plain["role"],
        plain["content"],
        call_id=plain.get("call_id", ""),
        name=plain.get("name", ""),
        images=images,
    )
