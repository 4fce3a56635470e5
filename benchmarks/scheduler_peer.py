"""The peer's side of `scheduler.py --peer`; runs in an environment that has verifiers.

scheduler_peer.py serve                 an OpenAI server that answers at once; prints its port
scheduler_peer.py run PORT EPISODES     one ToolEnv, 4 turns an episode; prints one JSON line
"""

import asyncio
import importlib.metadata
import json
import resource
import sys
import time


def look(line: int) -> str:
    """Look at a line.

    Args:
        line: which.
    """
    return "a line of text, as a tool would give it"


async def serve() -> None:
    """Raw asyncio: as little as a server can be, so that it does not hold up who is measured."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    int(line.split(b":")[1])
                    for line in head.split(b"\r\n")
                    if line.lower().startswith(b"content-length")
                )
                asked = json.loads(await reader.readexactly(length))
                body = json.dumps(answer(asked["messages"])).encode()
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                    b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, StopIteration):
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def answer(messages: list) -> dict:
    """A call of the tool for three turns, then a closing word."""
    turn = sum(m["role"] == "assistant" for m in messages)
    message: dict = {"role": "assistant", "content": "done"}
    if turn < 3:
        function = {"name": "look", "arguments": '{"line": 3}'}
        call = {"id": f"call_{turn}", "type": "function", "function": function}
        message = {"role": "assistant", "content": None, "tool_calls": [call]}
    reason = "stop" if turn >= 3 else "tool_calls"
    return {
        "id": "c",
        "object": "chat.completion",
        "created": 0,
        "model": "stub",
        "choices": [{"index": 0, "message": message, "finish_reason": reason, "logprobs": None}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18},
    }


def cpu() -> float:
    mine, children = (
        resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return mine.ru_utime + mine.ru_stime + children.ru_utime + children.ru_stime


async def run(port: int, episodes: int) -> None:
    import verifiers as vf
    from datasets import Dataset
    from openai import AsyncOpenAI

    rows = [{"question": "Look at line 3.", "answer": "done"}] * episodes
    rubric = vf.Rubric(funcs=[lambda completion, **_: 1.0])
    env = vf.ToolEnv(tools=[look], dataset=Dataset.from_list(rows), rubric=rubric, max_turns=9)
    client = AsyncOpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0)
    if hasattr(vf, "ClientConfig"):
        import os

        os.environ["STUB_KEY"] = "none"
        client = vf.ClientConfig(api_base_url=f"http://127.0.0.1:{port}/v1", api_key_var="STUB_KEY")
    before, wall = cpu(), time.perf_counter()
    found = await env.generate(env.get_dataset(), client=client, model="stub")
    used, wall = cpu() - before, time.perf_counter() - wall
    outputs = found["outputs"] if isinstance(found, dict) else found.outputs
    rewards = [o["reward"] for o in outputs]
    assert len(rewards) == episodes
    assert all(r == 1.0 for r in rewards), rewards[:4]
    print(
        json.dumps(
            {
                "version": importlib.metadata.version("verifiers"),
                "episodes": episodes,
                "cpu_ms_per_episode": 1000 * used / episodes,
                "wall_seconds": wall,
            }
        )
    )


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        asyncio.run(serve())
    else:
        asyncio.run(run(int(sys.argv[2]), int(sys.argv[3])))
