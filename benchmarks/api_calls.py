"""What a call of `LiteLLMChat` costs beside a bare `litellm.acompletion`, 200 in flight at once.

The server is a process of its own on loopback and answers at once; CPU time is the client's.

    python benchmarks/api_calls.py --json
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import tempfile
import time
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection
from pathlib import Path

from agentrl.core import Message
from agentrl.engines import AnswerCache, Endpoint, LiteLLMChat
from agentrl.engines.litellm.client import litellm

ANSWER = {
    "id": "x",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": '{"good": true}'},
        }
    ],
    "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
}


def serve(told: Connection) -> None:
    """Answer every request; tells its port."""
    from aiohttp import web

    async def answer(request: web.Request) -> web.Response:
        await request.read()
        return web.json_response(ANSWER)

    async def run() -> None:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        told.send(runner.addresses[0][1])
        await asyncio.Event().wait()

    asyncio.run(run())


async def measure(ask: Callable[[int], Awaitable[object]], calls: int, flight: int) -> float:
    """CPU milliseconds of this process per call."""
    slots = asyncio.Semaphore(flight)

    async def one(i: int) -> None:
        async with slots:
            await ask(i)

    started = time.process_time()
    await asyncio.gather(*(one(i) for i in range(calls)))
    return 1e3 * (time.process_time() - started) / calls


async def compare(base: str, folder: Path, calls: int, flight: int) -> dict[str, float]:
    endpoint = Endpoint("hosted_vllm/m", api_base=base, concurrency=flight)
    cache = AnswerCache(folder / "answers.db")
    chat = LiteLLMChat(endpoint, cache=cache)
    question = [Message("system", "Judge."), Message("user", "Is it good? " * 50)]
    wire = [{"role": m.role, "content": m.content} for m in question]
    library = litellm()

    async def bare(i: int) -> object:
        return await library.acompletion(
            model="hosted_vllm/m", messages=wire, api_base=base, api_key="none", seed=i
        )

    for warm in range(20):
        await bare(warm)
        await chat.chat(question, seed=10**9 + warm)
    best: dict[str, float] = {}
    for turn in range(3):
        ways: dict[str, Callable[[int], Awaitable[object]]] = {
            "litellm": bare,
            "chat": lambda i, turn=turn: chat.chat(question, seed=turn * calls + i),
            "cached": lambda i: chat.chat(question, seed=i),
        }
        for name, ask in ways.items():
            spent = await measure(ask, calls, flight)
            best[name] = min(best.get(name, spent), spent)
    await chat.close()
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON line last")
    parser.add_argument("--calls", type=int, default=600)
    parser.add_argument("--flight", type=int, default=200)
    options = parser.parse_args()
    here, there = multiprocessing.Pipe()
    server = multiprocessing.Process(target=serve, args=(there,), daemon=True)
    server.start()
    base = f"http://127.0.0.1:{here.recv()}/v1"
    with tempfile.TemporaryDirectory() as folder:
        best = asyncio.run(compare(base, Path(folder), options.calls, options.flight))
    server.terminate()
    result = {
        "benchmark": "api_calls",
        "in_flight": options.flight,
        **{f"{name}_cpu_ms": round(spent, 3) for name, spent in best.items()},
        "own_cpu_ms": round(best["chat"] - best["litellm"], 3),
    }
    print(", ".join(f"{k} {v}" for k, v in result.items() if k != "benchmark"))
    if options.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
