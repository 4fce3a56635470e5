"""The peer of `scheduler.py --peers`; runs in an environment that has verifiers (0.1 or 0.4).

scheduler_peer.py serve                 an OpenAI server that answers at once; prints its port
scheduler_peer.py run PORT EPISODES     one ToolEnv, 4 turns an episode; prints one JSON line
"""

import asyncio
import importlib.metadata
import json
import os
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
                kind, body = reply(asked)
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\n"
                    b"Content-Length: %d\r\n\r\n%s" % (kind, len(body), body)
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, StopIteration):
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def reply(asked: dict) -> tuple[bytes, bytes]:
    """Content type and body: one JSON object, or its only chunk of a stream."""
    said = answer(asked)
    if not asked.get("stream"):
        return b"application/json", json.dumps(said).encode()
    (choice,) = said["choices"]
    delta = dict(choice.pop("message"))
    for number, call in enumerate(delta.get("tool_calls", ())):
        call["index"] = number
    choice["delta"], said["object"] = delta, "chat.completion.chunk"
    return b"text/event-stream", f"data: {json.dumps(said)}\n\ndata: [DONE]\n\n".encode()


def answer(asked: dict) -> dict:
    """A call of the tool for three turns, then a closing word."""
    turn = sum(m["role"] == "assistant" for m in asked["messages"])
    message: dict = {"role": "assistant", "content": "done"}
    if turn < 3:
        function = {"name": asked["tools"][0]["function"]["name"], "arguments": '{"line": 3}'}
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


async def run_in_process(port: int, episodes: int) -> list[float]:
    """Rewards of 0.1: the loop and its tools run in this process."""
    import verifiers as vf
    from datasets import Dataset
    from openai import AsyncOpenAI

    rows = [{"question": "Look at line 3.", "answer": "done"}] * episodes
    rubric = vf.Rubric(funcs=[lambda completion, **_: 1.0])
    env = vf.ToolEnv(tools=[look], dataset=Dataset.from_list(rows), rubric=rubric, max_turns=9)
    client = AsyncOpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0)
    if hasattr(vf, "ClientConfig"):
        client = vf.ClientConfig(api_base_url=f"http://127.0.0.1:{port}/v1", api_key_var="STUB_KEY")
    CLOCK.start()
    found = await env.generate(env.get_dataset(), client=client, model="stub")
    CLOCK.stop()
    outputs = found["outputs"] if isinstance(found, dict) else found.outputs
    return [o["reward"] for o in outputs]


class Clock:
    """CPU of this process and its children, and wall time, between start and stop."""

    def start(self) -> None:
        self.cpu, self.wall = cpu(), time.perf_counter()

    def stop(self) -> None:
        self.cpu, self.wall = cpu() - self.cpu, time.perf_counter() - self.wall


CLOCK = Clock()


def main(port: int, episodes: int) -> None:
    os.environ["STUB_KEY"] = "none"
    version = importlib.metadata.version("verifiers")
    if version.startswith("0.1."):
        rewards = asyncio.run(run_in_process(port, episodes))
    else:
        from scheduler_peer_v1 import run_programs

        rewards = asyncio.run(run_programs(port, episodes, CLOCK))
    assert len(rewards) == episodes
    assert all(r == 1.0 for r in rewards), rewards[:4]
    found = {
        "version": version,
        "episodes": episodes,
        "cpu_ms_per_episode": 1000 * CLOCK.cpu / episodes,
        "wall_seconds": CLOCK.wall,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        asyncio.run(serve())
    else:
        main(int(sys.argv[2]), int(sys.argv[3]))
