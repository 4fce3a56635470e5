"""vLLM in this process: exact numbers before, in the middle of and after an update."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from vllm_kit import PROMPT, forward, settings, write_adapter

from agentrl.core import ConfigError, Engine, InfraError, ModelError, Sampling
from agentrl.engines.vllm import VLLMEngine
from agentrl.engines.vllm.checks import Probe
from agentrl.models import Policy, copy_weights, named_weights, score_logprobs


@pytest.fixture(scope="module")
def shared(model_dir: Path) -> Iterator[VLLMEngine]:
    engine = VLLMEngine(settings(model_dir), seed=7)
    yield engine
    asyncio.run(engine.close())


@pytest.fixture
async def engine(shared: VLLMEngine, old_policy: Policy) -> VLLMEngine:
    """With the weights that it was started with."""
    if shared.version:
        await shared.load_weights(0, named_weights(old_policy))
    return shared


async def test_logprobs_equal_a_plain_forward_at_every_temperature(
    engine: VLLMEngine, old_policy: Policy
) -> None:
    """They are of the untempered distribution, as with the embedded engine."""
    assert isinstance(engine, Engine)
    state = torch.get_rng_state()
    said = await asyncio.gather(
        *(
            engine.generate(PROMPT[: 20 + 7 * i], Sampling(t, 24, (4,)), seed=i)
            for i, t in enumerate([1.0] * 8 + [0.5, 0.7, 1.5, 0.0])
        )
    )
    # vLLM was started meanwhile: it leaves the process as it was.
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.set_num_threads.__module__ != "vllm.v1.worker.cpu_worker"
    for i, g in enumerate(said):
        start = 20 + 7 * i
        want = forward(old_policy, [*PROMPT[:start], *g.tokens.tolist()], start)
        np.testing.assert_allclose(g.logprobs, want, atol=1e-4)
        assert set(g.weights.tolist()) == {0}


async def test_scores_equal_a_plain_forward(engine: VLLMEngine, old_policy: Policy) -> None:
    scores = await asyncio.gather(*(engine.score(PROMPT[:n], n // 2) for n in (2, 37, 100)))
    for n, score in zip((2, 37, 100), scores, strict=True):
        np.testing.assert_allclose(
            score.logprobs, forward(old_policy, PROMPT[:n], n // 2), atol=1e-4
        )
    with pytest.raises(ConfigError, match="entropy"):
        await engine.score(PROMPT, entropy=True)
    with pytest.raises(ConfigError, match="from token 0"):
        await engine.score(PROMPT, 0)


async def test_seeds_repeat_and_siblings_differ(engine: VLLMEngine) -> None:
    group = [await engine.generate(PROMPT, Sampling(1.0, 16), seed=i) for i in range(4)]
    again = await engine.generate(PROMPT, Sampling(1.0, 16), seed=2)
    assert len({tuple(g.tokens.tolist()) for g in group}) == 4
    assert again.tokens.tolist() == group[2].tokens.tolist()


async def test_a_stop_id_is_the_last_token_and_a_full_context_a_length(engine: VLLMEngine) -> None:
    free = await engine.generate(PROMPT, Sampling(1.0, 20), seed=5)
    stop = int(free.tokens[9])
    first = free.tokens.tolist().index(stop)
    cut = await engine.generate(PROMPT, Sampling(1.0, 20, (stop,)), seed=5)
    assert (free.finish_reason, cut.finish_reason) == ("length", "stop")
    assert cut.tokens.tolist() == free.tokens.tolist()[: first + 1]
    nearly = await engine.generate((PROMPT * 11)[:1020], Sampling(1.0, 50))
    full = await engine.generate((PROMPT * 11)[:1024], Sampling(1.0, 50))
    assert (nearly.finish_reason, len(nearly.tokens)) == ("length", 4)
    assert (full.finish_reason, len(full.tokens)) == ("length", 0)
    for wrong in ([], [-1], [10**6]):
        with pytest.raises(ConfigError, match="the model has ids"):
            await engine.generate(wrong, Sampling())


async def test_after_an_update_the_same_prompt_gives_the_new_policys_numbers(
    engine: VLLMEngine, old_policy: Policy, new_policy: Policy, new_dir: Path
) -> None:
    before = await engine.generate(PROMPT, Sampling(1.0, 20), session="a", seed=1)
    stale = forward(new_policy, [*PROMPT, *before.tokens.tolist()], len(PROMPT))
    assert abs(stale - before.logprobs).max() > 0.1
    for version, weights in ((3, named_weights(new_policy)), (4, new_dir)):
        await engine.load_weights(version, weights)
        after = await engine.generate(PROMPT, Sampling(1.0, 20), session="a", seed=1)
        want = forward(new_policy, [*PROMPT, *after.tokens.tolist()], len(PROMPT))
        np.testing.assert_allclose(after.logprobs, want, atol=1e-4)
        assert set(after.weights.tolist()) == {version}
        score = await engine.score([*PROMPT, *before.tokens.tolist()], len(PROMPT))
        np.testing.assert_allclose(score.logprobs, stale, atol=1e-4)
        await engine.load_weights(9, named_weights(old_policy))


async def begun(engine: VLLMEngine) -> None:
    """Wait until the requests before this have some tokens: a batch advances together."""
    await engine.generate(PROMPT, Sampling(1.0, 4), seed=9)


async def test_an_update_in_the_middle_of_generations_is_exact_on_both_sides(
    engine: VLLMEngine, old_policy: Policy, new_policy: Policy
) -> None:
    tasks = [
        asyncio.create_task(engine.generate(PROMPT, Sampling(1.0, 900), seed=i)) for i in range(3)
    ]
    await begun(engine)
    await engine.load_weights(5, named_weights(new_policy))
    for g in await asyncio.gather(*tasks):
        tokens = [*PROMPT, *g.tokens.tolist()]
        assert len(g.tokens) == 900
        assert set(g.weights.tolist()) == {0, 5}
        assert (np.diff(g.weights) >= 0).all()
        for version, policy in ((0, old_policy), (5, new_policy)):
            mine = g.weights == version
            want = forward(policy, tokens, len(PROMPT))[mine]
            np.testing.assert_allclose(g.logprobs[mine], want, atol=1e-4)


async def test_weights_that_do_not_fit_are_refused_and_the_old_ones_stay(
    engine: VLLMEngine, old_policy: Policy, new_policy: Policy
) -> None:
    weights = named_weights(new_policy)
    first = next(iter(weights))
    for broken in (
        {k: v for k, v in weights.items() if k != first},
        {**weights, "model.unheard_of": weights[first]},
        {**weights, first: weights[first][:, :3]},
    ):
        with pytest.raises(ModelError, match="do not match"):
            await engine.load_weights(6, broken)
    with pytest.raises(ConfigError, match="give it tensors"):
        await engine.load_weights(6)
    assert engine.version == 0
    score = await engine.score(PROMPT)
    np.testing.assert_allclose(score.logprobs, forward(old_policy, PROMPT, 1), atol=1e-4)


async def test_the_probe_tells_that_learner_and_engine_disagree(
    engine: VLLMEngine, old_policy: Policy, new_policy: Policy
) -> None:
    engine._probe = Probe(lambda tokens: score_logprobs(new_policy, tokens), 1200)
    try:
        await engine.load_weights(1, named_weights(new_policy))
        with pytest.raises(InfraError, match="version 2") as caught:
            await engine.load_weights(2, named_weights(old_policy))
        assert caught.value.cause == "weights_differ"
    finally:
        engine._probe = None


async def test_adapters_are_swapped_while_requests_run(
    model_dir: Path, old_policy: Policy, tmp_path: Path
) -> None:
    engine = VLLMEngine(settings(model_dir, lora_rank=4))
    merged = [write_adapter(old_policy, tmp_path / str(i), seed=i) for i in range(3)]
    plain = await engine.generate(PROMPT, Sampling(1.0, 12), seed=3)
    await engine.load_weights(11, tmp_path / "0")
    running = asyncio.create_task(engine.generate(PROMPT, Sampling(1.0, 300), seed=3))
    await begun(engine)
    said = {11: None, 12: None, 13: None}
    for i, version in ((1, 12), (2, 13)):
        await engine.load_weights(version, tmp_path / str(i))
        said[version] = await engine.generate(PROMPT, Sampling(1.0, 12), session="s", seed=3)
    said[11] = await running
    for i, (version, g) in enumerate(said.items()):
        assert g is not None
        assert set(g.weights.tolist()) == {version}
        twin = _with(old_policy, merged[i])
        want = forward(twin, [*PROMPT, *g.tokens.tolist()], len(PROMPT))
        np.testing.assert_allclose(g.logprobs, want, atol=1e-4)
        assert abs(g.logprobs[:12] - plain.logprobs).max() > 0.01
    with pytest.raises(ConfigError, match="adapters are enabled"):
        await engine.score(PROMPT)
    await engine.close()


async def test_a_cancelled_request_leaves_its_place(engine: VLLMEngine) -> None:
    task = asyncio.create_task(engine.generate(PROMPT, Sampling(1.0, 900)))
    await asyncio.sleep(0.3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    said = await engine.generate(PROMPT, Sampling(1.0, 3))
    assert len(said.tokens) == 3
    assert not engine._waiting


async def test_sessions_begin_and_end(engine: VLLMEngine) -> None:
    await engine.generate(PROMPT, Sampling(1.0, 2), session="one")
    assert "one" in engine.sessions
    await engine.end_session("one")
    assert "one" not in engine.sessions


async def test_a_model_that_cannot_be_loaded_is_said_to_whoever_asks(tmp_path: Path) -> None:
    engine = VLLMEngine(settings(tmp_path / "nowhere"))
    for _ in range(2):
        with pytest.raises(InfraError) as caught:
            await engine.generate([1], Sampling())
        assert caught.value.cause == "engine_lost"
    await engine.close()


def _with(policy: Policy, weights: dict) -> Policy:
    """Another policy of the same shape that has these weights."""
    from conftest import make

    twin = make(0)
    copy_weights(twin, weights)
    return twin
