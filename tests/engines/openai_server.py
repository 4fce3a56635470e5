"""A real HTTP server on loopback that speaks the OpenAI wire and misbehaves on demand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Answer = Callable[[dict[str, Any]], Awaitable[web.StreamResponse]]


@dataclass
class OpenAIServer:
    """`script` is worked off, one entry a request; then every request is answered by `default`."""

    base: str = ""
    script: list[Answer] = field(default_factory=list)
    default: Answer | None = None
    requests: list[dict[str, Any]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.requests.append(body)
        self.times.append(asyncio.get_running_loop().time())
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            answer = self.script.pop(0) if self.script else self.default or say("hello")
            return await answer(body)
        finally:
            self.in_flight -= 1


@asynccontextmanager
async def serving(
    *script: Answer, default: Answer | None = None, port: int = 0
) -> AsyncIterator[OpenAIServer]:
    server = OpenAIServer(script=list(script), default=default)
    app = web.Application(client_max_size=1 << 26)
    app.router.add_post("/v1/chat/completions", server.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    server.base = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    try:
        yield server
    finally:
        await runner.cleanup()


def completion(message: dict[str, Any], **more: Any) -> dict[str, Any]:
    usage = more.pop("usage", {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15})
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "stop"}
    return {
        "id": "x",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{**choice, **more}],
        "usage": usage,
    }


def reply(payload: Any, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    async def answer(_: dict[str, Any]) -> web.StreamResponse:
        text = payload if isinstance(payload, str) else json.dumps(payload)
        return web.Response(
            text=text, status=status, headers=headers, content_type="application/json"
        )

    return answer


def say(text: str, **more: Any) -> Answer:
    return reply(completion({"content": text}, **more))


def fail(status: int, message: str = "no", **headers: str) -> Answer:
    given = {k.replace("_", "-"): v for k, v in headers.items()}
    return reply({"error": {"message": message, "type": "error", "code": None}}, status, given)


def slowly(seconds: float, then: Answer) -> Answer:
    async def answer(body: dict[str, Any]) -> web.StreamResponse:
        await asyncio.sleep(seconds)
        return await then(body)

    return answer
