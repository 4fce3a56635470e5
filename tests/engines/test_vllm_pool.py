"""A pool of servers over real sockets: who is asked, what a fault costs, who has which weights."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from token_server import TokenServer, token_servers

from agentrl.core import ConfigError, InfraError, Sampling
from agentrl.engines.vllm import VLLMServers, VLLMSettings
from agentrl.engines.vllm.checks import Probe
from agentrl.engines.vllm.fleet import Patience
from agentrl.engines.vllm.transfer import SharedWeights

PATIENCE = Patience(start=20, health=0.1, load=5, attempts=4)


@asynccontextmanager
async def pool(count: int, **options: Any) -> AsyncIterator[tuple[VLLMServers, list[TokenServer]]]:
    async with token_servers(count) as servers:
        options = {"patience": PATIENCE} | options
        urls = [s.url for s in servers]
        engine = VLLMServers(VLLMSettings("none"), count=0, urls=urls, **options)
        try:
            await engine.ready()
            await until(lambda: engine.servers_up == count)
            yield engine, servers
        finally:
            await engine.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


def weights(value: float) -> dict[str, torch.Tensor]:
    return {"w": torch.full((3,), value), "b": torch.zeros((2, 2), dtype=torch.bfloat16)}


def asked(servers: list[TokenServer]) -> list[int]:
    return [s.calls.count("/inference/v1/generate") for s in servers]


async def test_new_conversations_go_where_least_is_in_flight_and_stay_there() -> None:
    async with pool(3) as (engine, servers):
        for server in servers:
            server.delay = 0.05
        for _ in range(3):
            await asyncio.gather(
                *(engine.generate([5], Sampling(1.0, 2), session=f"s{i}") for i in range(12))
            )
        assert asked(servers) == [12, 12, 12]
        homes = Counter(id(s) for s in engine._fleet.homes.values())
        assert sorted(homes.values()) == [4, 4, 4]
        assert len(engine.sessions) == 12
        await engine.end_session("s0")
        assert len(engine.sessions) == 11


async def test_a_request_that_a_server_loses_goes_to_another_with_the_same_seed() -> None:
    async with pool(2) as (engine, servers):
        await engine.generate([5], Sampling(1.0, 1), session="s")
        home = next(s for s in servers if s.seeds)
        other = next(s for s in servers if s is not home)
        home.trouble = "/inference/v1/generate"
        said = await engine.generate([5], Sampling(1.0, 4), session="s", seed=9)
        assert said.tokens.tolist() == [7] * 4
        assert (home.seeds[-1], other.seeds[-1]) == (0, 9)


async def test_when_nothing_helps_the_request_fails_as_infrastructure() -> None:
    async with pool(2) as (engine, servers):
        for server in servers:
            server.trouble = "/inference/v1/generate"
        with pytest.raises(InfraError, match="trouble at") as caught:
            await engine.generate([5], Sampling())
        assert caught.value.cause == "engine_lost"
        assert sum(asked(servers)) == PATIENCE.attempts


async def test_a_server_that_is_ill_gets_nothing_until_it_is_well() -> None:
    async with pool(2) as (engine, servers):
        servers[0].trouble = "all"
        await until(lambda: engine.servers_up == 1)
        before = asked(servers)[0]
        for i in range(6):
            await engine.generate([5], Sampling(1.0, 1), session=str(i))
        assert asked(servers)[0] == before
        servers[0].trouble = ""
        await until(lambda: engine.servers_up == 2)


async def test_a_server_that_is_slow_to_answer_is_not_taken_for_dead() -> None:
    async with pool(2) as (engine, servers):
        servers[0].mute = PATIENCE.silence - 1
        down = False

        async def look() -> None:
            nonlocal down
            while servers[0].mute:
                down |= engine.servers_up < 2
                await asyncio.sleep(0.01)

        await asyncio.wait_for(look(), 20)
        seen = servers[0].calls.count("/health")
        await until(lambda: servers[0].calls.count("/health") >= seen + 3)
        assert not down
        assert engine.servers_up == 2
        servers[0].mute = 100
        await until(lambda: engine.servers_up == 1)
        servers[0].mute = 0
        await until(lambda: engine.servers_up == 2)


async def test_requests_wait_while_every_server_is_ill() -> None:
    async with pool(1) as (engine, (server,)):
        server.trouble = "all"
        await until(lambda: engine.servers_up == 0)
        waiting = asyncio.create_task(engine.generate([5], Sampling(1.0, 3)))
        await asyncio.sleep(0.3)
        assert not waiting.done()
        server.trouble = ""
        assert len((await asyncio.wait_for(waiting, 20)).tokens) == 3


async def test_weights_reach_every_server_between_pause_and_resume() -> None:
    async with pool(2) as (engine, servers):
        assert (await engine.generate([5], Sampling(1.0, 2))).weights.tolist() == [0, 0]
        for version, value in ((1, 0.25), (2, 0.5)):
            await engine.load_weights(version, weights(value))
            assert [s.value for s in servers] == [value] * 2
            assert [s.version for s in servers] == [str(version)] * 2
            assert not any(s.paused for s in servers)
        order = [c for c in servers[0].calls if c not in ("/health", "/weight_info")]
        updates = ["/pause", "/collective_rpc", "/reset_prefix_cache"]
        assert order[-5:] == [*updates, "/update_weight_version", "/resume"]
        said = await engine.generate([5], Sampling(1.0, 2))
        assert (engine.version, said.weights.tolist()) == (2, [2, 2])


async def test_a_server_that_was_started_anew_by_others_is_given_the_weights_again() -> None:
    async with pool(2) as (engine, servers):
        await engine.load_weights(4, weights(0.75))
        servers[1].version, servers[1].value = "default", -1.0
        await until(lambda: servers[1].version == "4" and engine.servers_up == 2)
        assert servers[1].value == 0.75


@pytest.mark.parametrize("trouble", ["no reset", "/collective_rpc", "/resume"])
async def test_a_server_that_fails_in_an_update_is_used_again_only_with_the_new_weights(
    trouble: str,
) -> None:
    async with pool(2) as (engine, servers):
        servers[0].trouble = trouble
        await engine.load_weights(3, weights(0.125))
        before = asked(servers)[0]
        for i in range(6):
            said = await engine.generate([5], Sampling(1.0, 1), session=f"n{i}")
            assert said.weights.tolist() == [3]
        assert asked(servers)[0] == before
        servers[0].trouble = ""
        await until(lambda: engine.servers_up == 2)
        assert (servers[0].value, servers[0].version, servers[0].paused) == (0.125, "3", False)


async def test_the_probe_is_asked_of_every_server() -> None:
    probe = Probe(lambda tokens: np.full(len(tokens) - 1, -1.5, np.float32), 50)
    async with pool(2, probe=probe) as (engine, servers):
        await engine.load_weights(1, weights(0.5))
        assert asked(servers) == [1, 1]
        engine._probe = Probe(lambda tokens: np.zeros(len(tokens) - 1, np.float32), 50)
        with pytest.raises(InfraError, match="probe tokens differ"):
            await engine.load_weights(2, weights(0.5))


async def test_nan_is_named() -> None:
    async with pool(1) as (engine, (server,)):
        server.trouble = "nan"
        with pytest.raises(InfraError, match="not finite") as caught:
            await engine.generate([5], Sampling(1.0, 2))
        assert caught.value.cause == "bad_logits"


async def test_closing_tells_whoever_waits() -> None:
    async with pool(1) as (engine, (server,)):
        server.trouble = "all"
        await until(lambda: engine.servers_up == 0)
        waiting = asyncio.create_task(engine.generate([5], Sampling()))
        await asyncio.sleep(0.05)
        await engine.close()
        with pytest.raises(InfraError, match="closed"):
            await asyncio.wait_for(waiting, 5)
        with pytest.raises(InfraError, match="closed"):
            await engine.generate([5], Sampling())


@pytest.mark.parametrize("options", [{"count": 0}, {"count": 2, "urls": ["http://x"]}])
def test_servers_are_started_or_found_and_not_both(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        VLLMServers(VLLMSettings("none"), **options)


def test_weights_in_shared_memory_are_a_safetensors_file_that_is_written_in_place(
    tmp_path: Path,
) -> None:
    shared = SharedWeights(tmp_path)
    for value in (1.0, 2.0):
        given = weights(value)
        shared.write(given)
        found = load_file(shared.path)
        assert set(found) == set(given)
        for name, tensor in given.items():
            assert torch.equal(found[name], tensor)
            assert found[name].dtype == tensor.dtype
    inode = shared.path.stat().st_ino
    shared.write(weights(3.0))
    assert load_file(shared.path)["w"][0] == 3.0
    assert shared.path.stat().st_ino == inode
    shared.close()
    assert not list(tmp_path.iterdir())


def test_what_a_killed_process_left_in_memory_is_swept_away(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys, torch; from pathlib import Path;"
        "from agentrl.engines.vllm.transfer import SharedWeights;"
        "SharedWeights(Path(sys.argv[1])).write({'w': torch.ones(3)});"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    (left,) = tmp_path.iterdir()
    first, second = SharedWeights(tmp_path), SharedWeights(tmp_path)
    assert not left.exists()
    assert first.path.exists()
    first.close()
    second.close()
    assert not list(tmp_path.iterdir())
