"""Updates, cancellation and breakage: nothing stale, nothing lost in silence."""

import asyncio
import threading
from typing import Any

import numpy as np
import pytest
import torch

from agentrl.core import InfraError, Sampling
from agentrl.engines import TransformersEngine
from agentrl.models import Policy, score_logprobs

PROMPT = np.random.default_rng(0).integers(5, 1000, 100).tolist()


def shake(policy: Policy) -> None:
    """An update that moves every logit well beyond the noise."""
    with torch.no_grad():
        for weight in policy.model.parameters():
            weight.add_(0.05 * torch.randn_like(weight))


async def until(condition: Any) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.002)


async def test_after_an_update_the_same_prompt_gives_the_new_policys_numbers(
    own_policy: Policy,
) -> None:
    engine = TransformersEngine(own_policy)
    old = await engine.generate(PROMPT, Sampling(1.0, 10), session="a", seed=1)
    before = score_logprobs(own_policy, [*PROMPT, *old.tokens])
    async with engine.paused():
        shake(own_policy)
        engine.weights_updated(7)
    assert abs(score_logprobs(own_policy, [*PROMPT, *old.tokens]) - before).max() > 0.1
    for session in ("a", "b", ""):
        new = await engine.generate(PROMPT, Sampling(1.0, 10), session=session, seed=1)
        plain = score_logprobs(own_policy, [*PROMPT, *new.tokens])[len(PROMPT) - 1 :]
        np.testing.assert_allclose(new.logprobs, plain, atol=1e-4)
        assert set(new.weights.tolist()) == {7}
    assert set(old.weights.tolist()) == {0}
    await engine.close()


async def test_an_update_in_the_middle_of_a_generation_is_exact_on_both_sides(
    own_policy: Policy,
) -> None:
    engine = TransformersEngine(own_policy)
    tasks = [
        asyncio.create_task(engine.generate(PROMPT, Sampling(1.0, 120), session=str(i), seed=i))
        for i in range(3)
    ]
    await until(lambda: engine.counters.sampled > 60)
    async with engine.paused():
        steps = engine.counters.steps
        old = {k: v.clone() for k, v in own_policy.model.state_dict().items()}
        shake(own_policy)
        engine.weights_updated(1)
        await asyncio.sleep(0.05)
        assert engine.counters.steps == steps
    said = await asyncio.gather(*tasks)
    await engine.close()
    new_side = [score_logprobs(own_policy, [*PROMPT, *g.tokens])[len(PROMPT) - 1 :] for g in said]
    own_policy.model.load_state_dict(old)
    old_side = [score_logprobs(own_policy, [*PROMPT, *g.tokens])[len(PROMPT) - 1 :] for g in said]
    for g, new, before in zip(said, new_side, old_side, strict=True):
        assert set(g.weights.tolist()) == {0, 1}
        assert (np.diff(g.weights) >= 0).all()
        np.testing.assert_allclose(g.logprobs[g.weights == 0], before[g.weights == 0], atol=1e-4)
        np.testing.assert_allclose(g.logprobs[g.weights == 1], new[g.weights == 1], atol=1e-4)


async def test_pauses_nest_and_hold_from_any_thread(own_policy: Policy) -> None:
    engine = TransformersEngine(own_policy)
    async with engine.paused():
        with engine.pausing():
            task = asyncio.create_task(engine.generate(PROMPT, Sampling(1.0, 3)))
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.05)
        assert not task.done()
        assert engine.counters.steps == 0
    await task
    await engine.close()


async def test_a_cancelled_pause_lets_the_engine_go_on(own_policy: Policy) -> None:
    engine = TransformersEngine(own_policy)

    async def hold() -> None:
        async with engine.paused():
            await asyncio.sleep(60)

    holder = asyncio.create_task(hold())
    await asyncio.sleep(0.01)
    holder.cancel()
    await asyncio.wait_for(engine.generate(PROMPT, Sampling(1.0, 3)), 20)
    await engine.close()


async def test_cancelling_frees_the_slot_and_keeps_the_session_usable(own_policy: Policy) -> None:
    engine = TransformersEngine(own_policy, max_slots=1)
    task = asyncio.create_task(engine.generate(PROMPT, Sampling(1.0, 150), session="a"))
    waiting = asyncio.create_task(engine.generate(PROMPT, Sampling(1.0, 150)))
    await until(lambda: engine.counters.sampled > 3)
    waiting.cancel()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    said = await asyncio.wait_for(engine.generate(PROMPT, Sampling(1.0, 5), session="a"), 20)
    await until(lambda: engine.running == 0)
    assert engine.counters.sampled < 120
    plain = score_logprobs(own_policy, [*PROMPT, *said.tokens])[len(PROMPT) - 1 :]
    np.testing.assert_allclose(said.logprobs, plain, atol=1e-4)
    await engine.close()


async def test_a_leader_cancelled_in_its_prefill_leaves_its_siblings_going(
    own_policy: Policy,
) -> None:
    engine = TransformersEngine(own_policy, step_tokens=1)
    leader = asyncio.create_task(engine.generate(PROMPT, Sampling(1.0, 5), session="lead"))
    await until(lambda: engine.running == 1)
    others = [
        asyncio.create_task(engine.generate(PROMPT, Sampling(1.0, 5), seed=i)) for i in range(3)
    ]
    leader.cancel()
    said = await asyncio.wait_for(asyncio.gather(*others), 20)
    assert all(len(g.tokens) == 5 for g in said)
    await engine.close()


async def test_nan_weights_are_named_not_sampled(own_policy: Policy) -> None:
    engine = TransformersEngine(own_policy)
    async with engine.paused():
        next(own_policy.model.parameters()).data.fill_(float("nan"))
        engine.weights_updated(3)
    with pytest.raises(InfraError) as caught:
        await engine.generate(PROMPT, Sampling(1.0, 5))
    assert caught.value.cause == "bad_logits"
    assert "transformers engine: weights version 3" in str(caught.value)
    assert engine.running == 0
    await engine.close()


async def test_a_forward_that_raises_reaches_every_request_and_spares_the_next(
    own_policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = TransformersEngine(own_policy, max_slots=2)
    forward = type(own_policy.body).forward
    broken = True

    def faulty(self: Any, *args: Any, **options: Any) -> Any:
        if broken:
            raise RuntimeError("out of memory, says the test")
        return forward(self, *args, **options)

    monkeypatch.setattr(type(own_policy.body), "forward", faulty)
    said = await asyncio.gather(
        *(engine.generate(PROMPT, Sampling(1.0, 5), session=str(i)) for i in range(5)),
        return_exceptions=True,
    )
    for error in said:
        assert isinstance(error, InfraError)
        assert error.cause == "engine_lost"
        assert "RuntimeError: out of memory, says the test" in str(error)
    broken = False
    good = await engine.generate(PROMPT, Sampling(1.0, 5), session="1")
    plain = score_logprobs(own_policy, [*PROMPT, *good.tokens])[len(PROMPT) - 1 :]
    np.testing.assert_allclose(good.logprobs, plain, atol=1e-4)
    await engine.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_dead_thread_is_told_to_whoever_waits_and_to_whoever_comes(
    own_policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = TransformersEngine(own_policy)

    def die() -> None:
        raise SystemError("the thread is gone")

    fail = type(engine._batcher).fail
    calls = []

    def fail_once(error: InfraError) -> None:
        calls.append(error)
        if len(calls) == 1:
            raise SystemError("the thread is gone")
        fail(engine._batcher, error)

    monkeypatch.setattr(engine._batcher, "step", die)
    monkeypatch.setattr(engine._batcher, "fail", fail_once)
    for _ in range(2):
        with pytest.raises(InfraError, match="thread died: SystemError") as caught:
            await asyncio.wait_for(engine.generate(PROMPT, Sampling(1.0, 5)), 20)
        assert caught.value.cause == "engine_lost"
    await engine.close()


async def test_closing_ends_the_thread_and_tells_whoever_waits(own_policy: Policy) -> None:
    engine = TransformersEngine(own_policy)
    task = asyncio.create_task(engine.generate(PROMPT, Sampling(1.0, 150)))
    await until(lambda: engine.running == 1)
    await engine.close()
    await engine.close()
    with pytest.raises(InfraError, match="closed"):
        await task
    with pytest.raises(InfraError, match="closed"):
        await engine.generate(PROMPT, Sampling(1.0, 1))
    assert not any(t.name == "agentrl-engine" for t in threading.enumerate())


async def test_an_ended_session_frees_its_rows(own_policy: Policy) -> None:
    engine = TransformersEngine(own_policy)
    for i in range(6):
        tokens = [5 + i] * 40
        await engine.generate(tokens, Sampling(1.0, 20), session=str(i))
    held = engine.held_tokens
    assert held >= 6 * 60
    for i in range(6):
        await engine.end_session(str(i))
    await until(lambda: engine.held_tokens == 0)
    await engine.close()
