"""Environments and tools of others, the real ones: MCP servers, TextWorld, OpenEnv."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from small_kit import play, said

from agentrl.core import ConfigError, InfraError, Task, ToolCall
from agentrl.environments.gymnasium import GymEnvironment
from agentrl.environments.mcp import McpEnvironment
from agentrl.environments.openenv import OpenEnvEnvironment
from agentrl.tools.mcp import McpServer

pytestmark = pytest.mark.timeout(900)  # wall time of foreign imports where many share the cores
TIME = [sys.executable, "-m", "mcp_server_time", "--local-timezone", "UTC"]
PATIENCE = 300.0  # to start a program where many share the cores
NOON = {"source_timezone": "UTC", "target_timezone": "Asia/Tokyo", "time": "12:00"}

HTTP_SERVER = """
import sys
from mcp.server.mcpserver import MCPServer
server = MCPServer("sums")

@server.tool()
def add(a: int, b: int) -> int:
    "Add two numbers."
    return a + b

@server.tool()
def die() -> str:
    "End the server."
    import os
    os._exit(1)

server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
"""


def free_port() -> int:
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    import socket
    import time

    for _ in range(3000):
        assert process.poll() is None, "the server ended"
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError("the server does not listen")


def end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.kill(process.pid, signal.SIGTERM)
    process.wait(60)


async def test_a_real_mcp_server_over_stdio():
    turns = [
        said(
            "",
            ToolCall("convert_time", NOON),
            ToolCall("convert_time", {**NOON, "time": "noon"}),
            ToolCall("convert_time", {"time": "12:00"}),
        ),
        said("It is 21:00 in Tokyo."),
    ]
    environment = McpEnvironment(servers=[{"command": TIME, "start_seconds": PATIENCE}])
    episode = await play(environment, Task("t", "Noon UTC, in Tokyo?"), *turns)
    good, bad, missing = episode.turns[0].results
    assert "21:00" in good.text
    assert (good.ok, bad.ok, missing.ok) == (True, False, False)
    assert episode.outcome == {
        "answer": "It is 21:00 in Tokyo.", "calls": 3, "failed_calls": 2,
    }  # fmt: skip


async def test_tools_are_described_as_the_server_does_and_can_be_chosen():
    server = McpServer(command=TIME, only=["get_current_time"], start_seconds=PATIENCE)
    await server.start()
    try:
        (spec,) = (tool.spec["function"] for tool in server.tools.values())
        assert spec["name"] == "get_current_time"
        assert "timezone" in spec["parameters"]["properties"]
    finally:
        await server.close()
        await server.close()
    with pytest.raises(InfraError, match="connection is closed"):
        await server.tools["get_current_time"]({"timezone": "UTC"})
    with pytest.raises(ConfigError, match="has no tool 'fly'"):
        await McpServer(command=TIME, only=["fly"], start_seconds=PATIENCE).start()


@pytest.fixture
def http_server() -> Iterator[str]:
    port = free_port()
    process = subprocess.Popen([sys.executable, "-c", HTTP_SERVER, str(port)])
    try:
        wait_for(port, process)
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        end(process)


async def test_an_mcp_server_over_http_and_its_death(http_server):
    server = McpServer(url=http_server, call_seconds=20.0, start_seconds=PATIENCE)
    await server.start()
    try:
        assert (await server.tools["add"]({"a": 2, "b": 3})).text == "5"
        assert not (await server.tools["add"]({"a": "two"})).ok
        with pytest.raises(InfraError) as caught:
            await server.tools["die"]({})
        assert caught.value.cause == "mcp_lost"
    finally:
        await server.close()


@pytest.mark.parametrize(
    "settings",
    [
        {"command": ["/no/such/program"]},
        {"command": [sys.executable, "-c", "1"]},
        {"command": [sys.executable, "-c", "import time; time.sleep(60)"], "start_seconds": 1.0},
        {"url": "http://127.0.0.1:9/mcp"},
    ],
)
async def test_a_server_that_does_not_come_up_is_nobodys_reward(settings):
    with pytest.raises(InfraError) as caught:
        await McpServer(**settings).start()
    assert caught.value.cause == "mcp_lost"


def test_settings_that_are_wrong_are_told():
    with pytest.raises(ConfigError, match="either `command` or `url`"):
        McpEnvironment(servers=[{}])
    with pytest.raises(ConfigError, match="settings of an MCP server"):
        McpEnvironment(servers=[{"comand": []}])


class Countdown:
    """A world with Gymnasium's interface of five values."""

    def __init__(self, start: int) -> None:
        self.left = start

    def reset(self, *, seed: int | None = None) -> tuple[str, dict[str, Any]]:
        return f"{self.left} left, seed {seed}", {}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        if action == "explode":
            raise RuntimeError("boom")
        self.left -= action == "down"
        return f"{self.left} left", float(action == "down"), self.left == 0, False, {}


async def test_the_interface_of_gymnasium():
    act = [said("", ToolCall("act", {"command": c})) for c in ["up", "explode", "down", "down"]]
    task = Task("t", "Count down.", payload={"make": {"start": 2}, "seed": 7})
    environment = GymEnvironment(make=Countdown)
    assert await environment.reset(task) == "Count down.\n2 left, seed 7"
    episode = await play(GymEnvironment(make=Countdown), task, *act)
    assert [t.results[0].ok for t in episode.turns] == [True, False, True, True]
    assert episode.outcome == {"return": 2.0, "rewards": [0.0, 1.0, 1.0], "ended": "terminated"}
    with pytest.raises(ConfigError, match="cannot import"):
        GymEnvironment(make="no.such:thing")


def fetched(target: Path, *packages: str) -> Path:
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(target)]
    subprocess.run([*pip, *packages], check=True)
    return target


async def test_a_textworld_game_is_played_to_its_end(tmp_path, monkeypatch):
    """Made, compiled and played by TextWorld itself; a running score becomes rewards by step."""
    needs = ("jericho", "tatsu==5.8.3", "hashids", "mementos", "more-itertools", "prompt_toolkit")
    target = fetched(tmp_path / "packages", "textworld==1.7.0", *needs, "wcwidth", "termcolor")
    monkeypatch.syspath_prepend(str(target))
    from textworld import GameOptions
    from textworld.generator import compile_game, make_game

    options = GameOptions()
    options.seeds, options.nb_rooms, options.nb_objects, options.quest_length = 1234, 2, 3, 2
    options.path = str(tmp_path / "game.z8")
    game = make_game(options)
    task = Task("t", "Play.", payload={"make": {"path": compile_game(game, options)}})
    commands = ["look", "fly", *game.metadata["walkthrough"]]
    turns = [said("", ToolCall("act", {"command": command})) for command in commands]
    make = "agentrl.environments.gymnasium:textworld_game"
    episode = await play(GymEnvironment(make=make), task, *turns)
    assert "You are in" in episode.turns[0].results[0].text
    assert "not a verb" in episode.turns[1].results[0].text
    assert episode.outcome["ended"] == "terminated"
    assert episode.outcome["return"] == 1.0
    assert episode.outcome["rewards"][-1] == 1.0


OPENENV = """
import sys
import uvicorn
from openenv.core.env_server.http_server import create_app
from openenv.core.env_server.interfaces import Environment
from openenv.core.env_server.types import Action, Observation, State

class Guess(Action):
    number: int

class Hint(Observation):
    hint: str = ""

class Game(Environment):
    SUPPORTS_CONCURRENT_SESSIONS = True
    def reset(self, secret=5, **_):
        self.secret = secret
        return Hint(hint="guess a number", done=False, reward=0.0)
    def step(self, action, **_):
        if action.number < 0:
            raise ValueError("no negative numbers")
        right = action.number == self.secret
        word = "right" if right else "higher" if action.number < self.secret else "lower"
        return Hint(hint=word, done=right, reward=float(right))
    @property
    def state(self):
        return State()

app = create_app(Game, Guess, Hint)
uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="error")
"""


async def test_an_openenv_server(tmp_path):
    target = fetched(
        tmp_path / "openenv", "openenv-core==0.2.0", "fastapi", "websockets", "tomli", "tomli-w"
    )
    port = free_port()
    variables = {**os.environ, "PYTHONPATH": str(target)}
    process = subprocess.Popen([sys.executable, "-c", OPENENV, str(port)], env=variables)
    try:
        await asyncio.to_thread(wait_for, port, process)
        numbers: list[Any] = [3, -1, "seven", 9, 7]
        guesses = [said("", ToolCall("act", {"number": n})) for n in numbers]
        task = Task("t", "Guess.", payload={"reset": {"secret": 7}})
        episode = await play(OpenEnvEnvironment(url=f"http://127.0.0.1:{port}"), task, *guesses)
    finally:
        end(process)
    shown = [turn.results[0].text for turn in episode.turns]
    assert [shown[0], shown[3], shown[4]] == ["higher", "lower", "right"]
    assert shown[1] == "error: no negative numbers"
    assert shown[2].startswith("error:")
    assert episode.outcome == {"return": 1.0, "rewards": [0.0, 0.0, 1.0]}
    gone = OpenEnvEnvironment(url=f"http://127.0.0.1:{port}")
    with pytest.raises(InfraError) as caught:
        await gone.reset(task)
    assert caught.value.cause == "environment_lost"
    await gone.close()
