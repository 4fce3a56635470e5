"""The wire of one vLLM server: its token API, and its routes around an update.

aiohttp by itself: a call costs a tenth of the CPU time that SDKs take.
"""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp

from agentrl.core import ConfigError, InfraError


class TokenClient:
    """Raises `InfraError("engine_lost")` for whatever the server or the connection does wrong.

    Args:
        key: bearer token, for a server that wants one.
    """

    def __init__(self, url: str, *, key: str = "") -> None:
        self.url = url.rstrip("/")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        # No limit on connections: how much runs at once is the server's business.
        self._http = aiohttp.ClientSession(
            headers=headers,
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
        )

    async def generate(
        self, tokens: list[int], fields: dict[str, Any], *, model: str = ""
    ) -> dict[str, Any]:
        """The response of `/inference/v1/generate`: token ids in, token ids out.

        Args:
            fields: of vLLM's SamplingParams.
            model: an adapter's name; "": the model itself.
        """
        body: dict[str, Any] = {"token_ids": tokens, "sampling_params": fields, "stream": False}
        if model:
            body["model"] = model
        found: dict[str, Any] = await self._post("/inference/v1/generate", body)
        return found

    async def healthy(self, timeout: float = 5.0) -> bool | None:
        """Whether its engine lives; None when it says nothing in time."""
        try:
            async with asyncio.timeout(timeout), self._http.get(f"{self.url}/health") as answer:
                return answer.status == 200
        except TimeoutError:
            return None
        except (OSError, aiohttp.ClientError):
            return False

    async def limits(self) -> int:
        """Longest sequence."""
        found = await self._call("GET", "/v1/models", timeout=30)
        return int(found["data"][0]["max_model_len"])

    async def weight_version(self) -> str:
        """The name of the weights it has; "default" when it has been started anew."""
        found = await self._call("GET", "/weight_info", timeout=30)
        return str(found["weight_version"])

    async def pause(self) -> None:
        """Stop between two steps; what runs keeps what it has."""
        await self._post("/pause?mode=keep", timeout=120)

    async def resume(self) -> None:
        await self._post("/resume", timeout=60)

    async def load_file(self, path: str, version: int, timeout: float) -> None:
        """Take weights over from a file, while paused; no block of the old ones stays."""
        body = {"method": "agentrl_load_file", "args": [path]}
        await self._post("/collective_rpc", body, timeout=timeout)
        found = await self._post("/reset_prefix_cache?reset_running_requests=true", timeout=60)
        if not found.get("success"):
            raise self._lost("it did not reset its prefix cache")
        await self._post("/update_weight_version", {"new_version": str(version)}, timeout=60)

    async def load_adapter(self, name: str, path: str) -> None:
        body = {"lora_name": name, "lora_path": path}
        await self._post("/v1/load_lora_adapter", body, timeout=120)

    async def unload_adapter(self, name: str) -> None:
        await self._post("/v1/unload_lora_adapter", {"lora_name": name}, timeout=60)

    async def close(self) -> None:
        await self._http.close()

    async def _post(self, route: str, body: Any = None, timeout: float | None = None) -> Any:
        return await self._call("POST", route, body, timeout)

    async def _call(
        self, method: str, route: str, body: Any = None, timeout: float | None = None
    ) -> Any:
        try:
            async with (
                asyncio.timeout(timeout),
                self._http.request(method, self.url + route, json=body) as answer,
            ):
                if answer.status == 200:
                    return (
                        await answer.json()
                        if answer.content_type == "application/json"
                        else await answer.text()
                    )
                text = (await answer.text())[:500]
        except (OSError, TimeoutError, aiohttp.ClientError, ValueError) as error:
            name = type(error).__name__
            raise self._lost(f"{method} {route}: {name}: {error}") from error
        if answer.status in (400, 404, 413, 422):
            raise ConfigError(
                f"{method} {route} was refused ({answer.status}): {text}", where=self.url
            )
        raise self._lost(f"{method} {route}: status {answer.status}: {text}")

    def _lost(self, what: str) -> InfraError:
        return InfraError("engine_lost", what, where=self.url)
