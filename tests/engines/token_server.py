"""A real HTTP server with the routes of vLLM's that we use: for faults the real one cannot show."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from safetensors.torch import load_file


@dataclass
class TokenServer:
    """Says as many tokens 7 as it is asked for; `value` is that of the weight `w` it was given."""

    url: str = ""
    version: str = "default"
    value: float = -1.0
    paused: bool = False
    trouble: str = ""
    mute: int = 0  # looks at its health that it will leave unanswered
    delay: float = 0.0
    calls: list[str] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        route = request.path
        self.calls.append(route)
        if self.trouble == "hangs":
            await asyncio.sleep(3600)
        if route == "/health" and self.mute:
            self.mute -= 1
            await asyncio.sleep(3600)
        if self.trouble in ("all", route):
            return web.json_response({"error": f"trouble at {route}"}, status=500)
        body = json.loads(await request.text() or "{}")
        return web.json_response(await self._answer(route, body))

    async def _answer(self, route: str, body: Any) -> Any:
        if route == "/v1/models":
            return {"data": [{"max_model_len": 64}]}
        if route == "/weight_info":
            return {"weight_version": self.version}
        if route == "/pause":
            self.paused = True
        elif route == "/resume":
            self.paused = False
        elif route == "/collective_rpc":
            assert self.paused
            self.value = load_file(body["args"][0])["w"][0].item()
        elif route == "/update_weight_version":
            self.version = body["new_version"]
        elif route == "/reset_prefix_cache":
            return {"success": self.trouble != "no reset"}
        elif route == "/inference/v1/generate":
            return await self._generate(body)
        return {}

    async def _generate(self, body: dict[str, Any]) -> dict[str, Any]:
        fields = body["sampling_params"]
        self.seeds.append(fields["seed"])
        await asyncio.sleep(self.delay)
        count = fields["max_tokens"]
        value = None if self.trouble == "nan" else -0.5
        choice = {
            "token_ids": [7] * count,
            "logprobs": {"content": [{"token_id": 7, "logprob": value}] * count},
            "weight_versions": [{"version": self.version, "start": 0, "end": count}],
            "finish_reason": "length",
        }
        prompt = [None, *({str(t): {"logprob": -1.5}} for t in body["token_ids"][1:])]
        return {"choices": [choice], "prompt_logprobs": prompt}


@asynccontextmanager
async def token_servers(count: int) -> AsyncIterator[list[TokenServer]]:
    servers, runners = [], []
    try:
        for _ in range(count):
            server = TokenServer()
            app = web.Application()
            app.router.add_route("*", "/{path:.*}", server.handle)
            runner = web.AppRunner(app, shutdown_timeout=0.1)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            servers.append(server)
            runners.append(runner)
        yield servers
    finally:
        await asyncio.gather(*(runner.cleanup() for runner in runners))
