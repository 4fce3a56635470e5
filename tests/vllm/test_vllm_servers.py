"""Two real vLLM servers: balanced, updated in place, killed, started again with current weights."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
from conftest import make
from vllm_kit import PROMPT, forward, settings, write_adapter

from agentrl.core import ConfigError, Engine, Generation, InfraError, ModelError, Sampling
from agentrl.engines.vllm import VLLMServers
from agentrl.engines.vllm.checks import Probe
from agentrl.engines.vllm.fleet import Patience
from agentrl.models import Policy, copy_weights, named_weights, score_logprobs

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(
    model_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[VLLMServers]:
    logs = tmp_path_factory.mktemp("logs")
    engine = VLLMServers(
        settings(model_dir),
        count=2,
        python=sys.executable,
        logs=logs,
        threads=1,
        patience=Patience(health=1.0),
    )
    try:
        await engine.ready()
        async with asyncio.timeout(240):
            while engine.servers_up < 2:
                await asyncio.sleep(0.2)
        yield engine
    finally:
        await engine.close()
        print(*(p.read_text("utf-8")[-3000:] for p in logs.iterdir()), sep="\n")


async def exact(engine: VLLMServers, policy: Policy, version: int, session: str = "") -> Generation:
    """A generation whose numbers are those of `policy`."""
    said = await engine.generate(PROMPT, Sampling(1.0, 16), session=session, seed=1)
    want = forward(policy, [*PROMPT, *said.tokens.tolist()], len(PROMPT))
    np.testing.assert_allclose(said.logprobs, want, atol=1e-4)
    assert set(said.weights.tolist()) == {version}
    return said


async def test_token_ids_in_and_out_with_exact_logprobs(
    engine: VLLMServers, old_policy: Policy
) -> None:
    assert isinstance(engine, Engine)
    said = await asyncio.gather(
        *(
            engine.generate(PROMPT, Sampling(t, 24, (4,)), session=str(i), seed=i)
            for i, t in enumerate([1.0] * 6 + [0.7, 0.0])
        )
    )
    for g in said:
        want = forward(old_policy, [*PROMPT, *g.tokens.tolist()], len(PROMPT))
        np.testing.assert_allclose(g.logprobs, want, atol=1e-4)
    assert len({tuple(g.tokens.tolist()) for g in said}) == 8
    homes = [id(engine._fleet.homes[str(i)]) for i in range(8)]
    assert sorted(homes.count(h) for h in set(homes)) == [4, 4]
    await asyncio.gather(*(engine.generate(PROMPT, Sampling(1.0, 2), session="0") for _ in "abc"))
    assert id(engine._fleet.homes["0"]) == homes[0]
    for i in range(8):
        await engine.end_session(str(i))
    assert not engine.sessions
    score = await engine.score(PROMPT, 50)
    np.testing.assert_allclose(score.logprobs, forward(old_policy, PROMPT, 50), atol=1e-4)
    full = await engine.generate((PROMPT * 11)[:1024], Sampling(1.0, 5))
    assert (full.finish_reason, len(full.tokens)) == ("length", 0)
    with pytest.raises(ConfigError, match="out of vocabulary"):
        await engine.generate([99_999], Sampling())


async def test_an_update_in_the_middle_of_generations_is_exact_on_both_sides(
    engine: VLLMServers, old_policy: Policy, new_policy: Policy
) -> None:
    """Four requests on two servers; then the same prompt, whose old blocks were cached.

    Nothing tells when a server has begun with a request, and on a busy machine that may take more
    than a second: an update that came before one had a token is followed by another.
    """
    now, mixed = (0, old_policy), False
    for version in (5, 15, 25, 35, 45):
        before, now = now, (version, old_policy if now[1] is new_policy else new_policy)
        tasks = [
            asyncio.create_task(engine.generate(PROMPT, Sampling(1.0, 900), seed=i))
            for i in range(4)
        ]
        await asyncio.sleep(1.5)
        await engine.load_weights(version, named_weights(now[1]))
        said = await asyncio.gather(*tasks)
        for g in said:
            tokens = [*PROMPT, *g.tokens.tolist()]
            assert len(g.tokens) == 900
            assert set(g.weights.tolist()) <= {before[0], version}
            for known, policy in (before, now):
                mine = g.weights == known
                want = forward(policy, tokens, len(PROMPT))[mine]
                np.testing.assert_allclose(g.logprobs[mine], want, atol=1e-4)
        mixed = all(set(g.weights.tolist()) == {before[0], version} for g in said)
        if mixed:
            break
    assert mixed, "no update came in the middle of all four"
    version, policy = now
    for session in ("x", "y"):
        await exact(engine, policy, version, session)


async def test_weights_that_do_not_fit_are_refused_and_the_probe_agrees_with_those_that_do(
    engine: VLLMServers, old_policy: Policy
) -> None:
    weights = dict(named_weights(old_policy))
    weights.pop(next(iter(weights)))
    with pytest.raises(ModelError, match="do not match"):
        await engine.load_weights(6, weights)
    engine._probe = Probe(lambda tokens: score_logprobs(old_policy, tokens), 1200)
    try:
        await engine.load_weights(7, named_weights(old_policy))
    finally:
        engine._probe = None
    await exact(engine, old_policy, 7)


async def test_a_killed_server_loses_no_request_and_comes_back_with_the_current_weights(
    engine: VLLMServers, new_policy: Policy
) -> None:
    async with asyncio.timeout(500):
        await engine.load_weights(9, named_weights(new_policy))
        tasks = [
            asyncio.create_task(
                engine.generate(PROMPT, Sampling(1.0, 300), session=f"k{i}", seed=i)
            )
            for i in range(6)
        ]
        await asyncio.sleep(0.3)
        victim = engine.pids[0]
        assert victim is not None
        os.kill(victim, signal.SIGKILL)
        for g in await asyncio.gather(*tasks):
            assert len(g.tokens) == 300
            want = forward(new_policy, [*PROMPT, *g.tokens.tolist()], len(PROMPT))
            np.testing.assert_allclose(g.logprobs, want, atol=1e-4)
            assert set(g.weights.tolist()) == {9}
        while engine.servers_up < 2 or engine.pids[0] == victim:
            await asyncio.sleep(0.2)
        for i in range(4):
            await exact(engine, new_policy, 9, f"after{i}")
        # New conversations go where few are: to the one that lost its own.
        assert engine._fleet.homes["after0"] is engine._fleet.servers[0]


async def test_adapters_are_loaded_hot(model_dir: Path, old_policy: Policy, tmp_path: Path) -> None:
    engine = VLLMServers(
        settings(model_dir, lora_rank=4), python=sys.executable, logs=tmp_path, threads=1
    )
    merged = [write_adapter(old_policy, tmp_path / str(i), seed=i) for i in range(2)]
    try:
        for i, version in ((0, 21), (1, 22)):
            await engine.load_weights(version, tmp_path / str(i))
            twin = make(0)
            copy_weights(twin, merged[i])
            await exact(engine, twin, version)
    finally:
        await engine.close()


async def test_a_server_that_cannot_start_is_said_with_the_end_of_its_log(tmp_path: Path) -> None:
    engine = VLLMServers(
        settings(tmp_path / "nowhere"), python=sys.executable, logs=tmp_path,
        patience=Patience(restarts=0),
    )  # fmt: skip
    with pytest.raises(InfraError, match="the vLLM server ended") as caught:
        await engine.generate([5], Sampling())
    assert caught.value.cause == "engine_lost"
    await engine.close()
