"""An environment over HTTP: the same episode near and far, deadlines, and bad requests."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from small_kit import play, said

from agentrl import Environment, tool
from agentrl.core import InfraError, Task, ToolCall
from agentrl.environments.maze import MazeEnvironment, PrefixProgress, make_tasks
from agentrl.environments.remote import RemoteEnvironment
from agentrl.environments.serving import EnvironmentServer

(TASK,) = make_tasks(1, lengths=[3], max_bends=1, mode="moves")


@asynccontextmanager
async def served(make: Callable[[], Environment], **settings: Any) -> AsyncIterator[str]:
    runner = web.AppRunner(EnvironmentServer(make, **settings).app())
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


class Slow(Environment):
    closed = 0

    @tool
    async def wait(self, seconds: float) -> str:
        """Wait."""
        await asyncio.sleep(seconds)
        return "waited"

    @tool
    async def fail(self) -> str:
        """Fail."""
        raise InfraError("sandbox_died", "it is gone")

    async def close(self) -> None:
        Slow.closed += 1


async def ask(url: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    async with aiohttp.ClientSession() as http:
        data = body if isinstance(body, bytes) else json.dumps(body or {}).encode()
        async with http.request(method, url + path, data=data) as response:
            return response.status, await response.json()


async def opened(url: str) -> str:
    status, body = await ask(url, "POST", "/sessions", {"task": {"id": "t", "prompt": "p"}})
    assert status == 201
    return f"/sessions/{body['session']}"


async def test_an_episode_is_the_same_near_and_far():
    turns = [
        said("", ToolCall("move", {"direction": d}, id=f"c{i}"))
        for i, d in enumerate(["nowhere", *TASK.reference["path"]])
    ]
    near = await play(MazeEnvironment(), TASK, *turns)
    async with served(MazeEnvironment, reward=PrefixProgress()) as url:
        remote = RemoteEnvironment(url=url)
        far = await play(remote, TASK, *turns)
        assert (await ask(url, "GET", "/health"))[1]["sessions"] == 0
    assert [[m.content for m in t.observations] for t in far.turns] == [
        [m.content for m in t.observations] for t in near.turns
    ]
    assert [t.results[0].ok for t in far.turns] == [False, True, True, True]
    scores = far.outcome.pop("remote_scores")
    assert far.outcome == near.outcome
    assert scores["reward"]["value"] == (await PrefixProgress().score(near)).value


async def test_the_reference_stays_on_the_server():
    async with served(MazeEnvironment, tasks=[TASK]) as url:
        status, body = await ask(url, "POST", "/sessions", {"task_id": TASK.id})
        assert status == 201
        assert [t["function"]["name"] for t in body["tools"]] == ["move"]
        assert "path" not in json.dumps(body)


@pytest.mark.parametrize(
    ("path", "body", "status", "cause"),
    [
        ("/sessions", b"{", 400, "bad_request"),
        ("/sessions", b"\xff", 400, "bad_request"),
        ("/sessions", b"[" * 100_000, 400, "bad_request"),
        ("/sessions", {"task": {"id": "t"}}, 400, "bad_request"),
        ("/sessions", {"surprise": 1}, 400, "bad_request"),
        ("/sessions", {"task_id": "none"}, 400, "unknown_task"),
        ("/sessions/none/step", {"text": ""}, 404, "no_session"),
        ("/sessions/none/finish", {}, 404, "no_session"),
    ],
)
async def test_bad_requests_are_told(path, body, status, cause):
    async with served(Slow) as url:
        found, answer = await ask(url, "POST", path, body)
        assert (found, answer["error"]["cause"]) == (status, cause)


async def test_a_session_that_is_late_or_idle_ends_and_is_closed():
    Slow.closed = 0
    async with served(Slow, deadline=0.4) as url:
        session = await opened(url)
        body = {"calls": [{"name": "wait", "arguments": {"seconds": 30}}]}
        status, answer = await ask(url, "POST", f"{session}/step", body)
        assert (status, answer["error"]["cause"]) == (410, "deadline")
        for _ in range(100):
            if Slow.closed:
                break
            await asyncio.sleep(0.1)
        assert Slow.closed == 1
        assert (await ask(url, "POST", f"{session}/step"))[0] == 410
    async with served(Slow, idle=0.2) as url:
        session = await opened(url)
        await asyncio.sleep(1.5)
        assert (await ask(url, "POST", f"{session}/step"))[0] == 410
    assert Slow.closed == 2


async def test_sessions_are_limited_and_closed_with_the_server():
    Slow.closed = 0
    async with served(Slow, most=2) as url:
        first = await opened(url)
        await opened(url)
        status, answer = await ask(url, "POST", "/sessions", {"task": {"id": "t", "prompt": "p"}})
        assert (status, answer["error"]["cause"]) == (503, "too_many_sessions")
        assert (await ask(url, "DELETE", first))[0] == 200
        assert (await ask(url, "DELETE", first))[0] == 404
        await opened(url)
    assert Slow.closed == 3


async def test_what_breaks_there_is_an_infra_error_here():
    async with served(Slow) as url:
        remote = RemoteEnvironment(url=url)
        await remote.reset(Task("t", "p"))
        with pytest.raises(InfraError, match="it is gone") as caught:
            await remote.step(said("", ToolCall("fail", {})))
        assert caught.value.cause == "sandbox_died"
        await remote.close()
    gone = RemoteEnvironment(url=url)
    with pytest.raises(InfraError) as caught:
        await gone.reset(Task("t", "p"))
    assert caught.value.cause == "environment_lost"
    await gone.close()


async def test_after_the_end_there_is_only_finish():
    async with served(MazeEnvironment, tasks=[TASK]) as url:
        _, body = await ask(url, "POST", "/sessions", {"task_id": TASK.id})
        session = f"/sessions/{body['session']}"
        assert (await ask(url, "POST", f"{session}/step", {"text": "I stop"}))[1]["done"]
        assert (await ask(url, "POST", f"{session}/step", {"text": "no"}))[0] == 409
        status, answer = await ask(url, "POST", f"{session}/finish")
        assert (status, answer["outcome"]["arrived"]) == (200, False)


RUN = """\
model: unused
environment: {{kind: "agentrl.environments.maze:MazeEnvironment"}}
tasks: {{train: {tasks}}}
reward: {{kind: "agentrl.environments.maze:PrefixProgress"}}
"""


@pytest.mark.timeout(900)  # wall time of the imports where many share the cores
async def test_the_command_serves_a_run_file_and_ends_on_sigterm(tmp_path: Path):
    from agentrl.core.taskfile import write_tasks

    write_tasks(tmp_path / "tasks.jsonl", [TASK])
    (tmp_path / "run.yaml").write_text(RUN.format(tasks=tmp_path / "tasks.jsonl"))
    command = [sys.executable, "-m", "agentrl.cli", "serve-env", str(tmp_path / "run.yaml")]
    process = subprocess.Popen([*command, "--port", "0"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = await asyncio.to_thread(process.stdout.readline)
        url = line.split()[-1]
        status, body = await ask(url, "POST", "/sessions", {"task_id": TASK.id})
        assert status == 201
        moves = [{"name": "move", "arguments": {"direction": d}} for d in TASK.reference["path"]]
        session = f"/sessions/{body['session']}"
        assert (await ask(url, "POST", f"{session}/step", {"calls": moves}))[1]["done"]
        _, answer = await ask(url, "POST", f"{session}/finish")
        assert answer["scores"]["reward"]["value"] > 0
    finally:
        os.kill(process.pid, signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, 60) == 130
