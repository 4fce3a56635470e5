"""Scores and weights of the embedded engine against plain forwards of the model."""

import asyncio
from pathlib import Path

import numpy as np
import pytest
import torch
from engines_kit import SIZES, sharpen
from transformers import PreTrainedTokenizerFast

from agentrl.core import ConfigError, Engine, InfraError, ModelError, Sampling, Scorer
from agentrl.engines import ScriptedEngine, TransformersEngine
from agentrl.engines import transformers as transformers_engine
from agentrl.models import (
    CausalPacking,
    Policy,
    named_weights,
    save_policy,
    score_logprobs,
    tiny_policy,
)

RNG = np.random.default_rng(0)
ROWS = [RNG.integers(5, 1000, n).tolist() for n in (150, 2, 65, 7, 129)]


def plain(policy: Policy, tokens: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log-probabilities [T - 1], entropies [T - 1] and hidden states [T - 1, H], the slow way."""
    with torch.no_grad():
        hidden = policy.body(
            input_ids=torch.tensor([tokens]),
            position_ids=torch.arange(len(tokens))[None],
            use_cache=False,
            packing=CausalPacking([0, len(tokens)]),
        ).last_hidden_state[0, :-1]
        rows = policy.logits(hidden).double().log_softmax(-1)
        entropy = -(rows.exp() * rows).sum(-1)
        chosen = rows.gather(1, torch.tensor(tokens)[1:, None])[:, 0]
    return chosen.numpy(), entropy.numpy(), hidden.numpy()


async def test_scores_entropies_and_hidden_states_equal_the_plain_forward(policy: Policy) -> None:
    engine = TransformersEngine(policy)
    assert isinstance(engine, Engine)
    assert isinstance(engine, Scorer)
    starts = [1, 1, 40, 6, 129]
    scores = await asyncio.gather(
        *(
            engine.score(t, s, entropy=i % 2 == 0, hidden=i < 3)
            for i, (t, s) in enumerate(zip(ROWS, starts, strict=True))
        )
    )
    await engine.close()
    for i, (tokens, start, score) in enumerate(zip(ROWS, starts, scores, strict=True)):
        logprobs, entropy, hidden = plain(policy, tokens)
        np.testing.assert_allclose(score.logprobs, logprobs[start - 1 :], atol=1e-5)
        assert score.logprobs.dtype == np.float32
        assert (score.entropy is None) == (i % 2 == 1)
        if score.entropy is not None:
            np.testing.assert_allclose(score.entropy, entropy[start - 1 :], atol=1e-4)
        assert (score.hidden is None) == (i >= 3)
        if score.hidden is not None:
            np.testing.assert_allclose(score.hidden, hidden[start - 1 :], atol=1e-4)
    assert len(scores[4].logprobs) == 0


async def test_scores_that_wait_together_are_one_forward_and_generation_goes_on(
    policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[int] = []
    real = transformers_engine.score_tokens

    def counted(policy: Policy, requests: list, **options: int) -> list:
        rows.append(len(requests))
        return real(policy, requests, **options)

    monkeypatch.setattr(transformers_engine, "score_tokens", counted)
    engine = TransformersEngine(policy)
    talk = asyncio.create_task(engine.generate(ROWS[0], Sampling(1.0, 60), seed=3))
    async with engine.paused():
        waiting = [asyncio.create_task(engine.score(ROWS[i % 5])) for i in range(40)]
        dropped = asyncio.create_task(engine.score(ROWS[0]))
        await asyncio.sleep(0.05)
        dropped.cancel()
        await asyncio.sleep(0)
    scores = await asyncio.gather(*waiting)
    said = await talk
    await engine.close()
    assert sum(rows) == 40
    assert len(rows) == 1
    for i, score in enumerate(scores):
        np.testing.assert_allclose(score.logprobs, score_logprobs(policy, ROWS[i % 5]), atol=1e-5)
    want = score_logprobs(policy, [*ROWS[0], *said.tokens])[len(ROWS[0]) - 1 :]
    np.testing.assert_allclose(said.logprobs, want, atol=1e-4)


@pytest.mark.parametrize(("tokens", "start"), [([], 1), ([7, 8], 0), ([7, 8], 3), ([-1, 3], 1)])
async def test_what_cannot_be_scored_is_refused(
    policy: Policy, tokens: list[int], start: int
) -> None:
    engine = TransformersEngine(policy)
    with pytest.raises(ConfigError):
        await engine.score(tokens, start)
    await engine.close()
    with pytest.raises(InfraError, match="closed"):
        await engine.score([7, 8])


@pytest.fixture
def other_policy(hf_tokenizer: PreTrainedTokenizerFast) -> Policy:
    return sharpen(tiny_policy(hf_tokenizer, **SIZES, max_positions=256, seed=77))


@pytest.mark.parametrize("way", ["tensors", "path"])
async def test_loaded_weights_give_their_own_numbers_for_the_same_prompt(
    own_policy: Policy, other_policy: Policy, tmp_path: Path, way: str
) -> None:
    engine = TransformersEngine(own_policy)
    prompt = ROWS[2]
    old = await engine.generate(prompt, Sampling(1.0, 20), session="a", seed=1)
    save_policy(other_policy, tmp_path / "m")
    await engine.load_weights(
        9, named_weights(other_policy) if way == "tensors" else tmp_path / "m"
    )
    assert engine.version == 9
    for session in ("a", "new"):
        new = await engine.generate(prompt, Sampling(1.0, 20), session=session, seed=1)
        want = score_logprobs(other_policy, [*prompt, *new.tokens])[len(prompt) - 1 :]
        np.testing.assert_allclose(new.logprobs, want, atol=1e-4)
        assert set(new.weights.tolist()) == {9}
    stale = score_logprobs(other_policy, [*prompt, *old.tokens])[len(prompt) - 1 :]
    assert abs(stale - old.logprobs).max() > 0.1
    scored = await engine.score([*prompt, *old.tokens], len(prompt))
    np.testing.assert_allclose(scored.logprobs, stale, atol=1e-5)
    await engine.close()


async def test_weights_that_do_not_fit_are_refused_and_the_old_ones_stay(
    own_policy: Policy, other_policy: Policy, tmp_path: Path
) -> None:
    engine = TransformersEngine(own_policy)
    before = score_logprobs(own_policy, ROWS[2])
    weights = named_weights(other_policy)
    first = next(iter(weights))
    for broken in (
        {k: v for k, v in weights.items() if k != first},
        {**weights, "model.unheard_of": weights[first]},
        {**weights, first: weights[first][:, :3]},
        {},
    ):
        with pytest.raises(ModelError, match="do not match"):
            await engine.load_weights(3, broken)
    (tmp_path / "model.safetensors").write_bytes(b"not tensors")
    with pytest.raises(ModelError, match="cannot be read"):
        await engine.load_weights(3, tmp_path)
    assert engine.version == 0
    np.testing.assert_array_equal(score_logprobs(own_policy, ROWS[2]), before)
    await engine.close()


async def test_the_engines_own_tensors_are_never_copied(own_policy: Policy) -> None:
    engine = TransformersEngine(own_policy)
    versions = [w._version for w in own_policy.model.parameters()]
    await engine.load_weights(1, named_weights(own_policy))
    await engine.load_weights(2)
    assert [w._version for w in own_policy.model.parameters()] == versions
    assert engine.version == 2
    await engine.close()


async def test_sessions_are_those_that_have_begun_and_not_ended(policy: Policy) -> None:
    engine = TransformersEngine(policy)
    for name in ("a", "b"):
        await engine.generate(ROWS[3], Sampling(1.0, 2), session=name)
    assert set(engine.sessions) == {"a", "b"}
    await engine.end_session("a")
    await engine.score(ROWS[3])
    assert set(engine.sessions) == {"b"}
    await engine.close()


async def test_a_script_is_an_engine_without_weights(policy: Policy) -> None:
    engine = ScriptedEngine(lambda seed: (m for m in ("", "one", "two")), policy.tokenizer)
    assert isinstance(engine, Engine)
    await engine.load_weights(5, named_weights(policy))
    assert engine.version == -1
    await engine.generate([7], Sampling(1.0, 9), session="s")
    assert set(engine.sessions) == {"s"}
    with pytest.raises(ConfigError, match="no probabilities"):
        await engine.score([7, 8])
    await engine.close()


async def test_nan_weights_are_named_when_scoring(own_policy: Policy) -> None:
    engine = TransformersEngine(own_policy)
    async with engine.paused():
        next(own_policy.model.parameters()).data.fill_(float("nan"))
        engine.weights_updated(4)
    with pytest.raises(InfraError, match="version 4") as caught:
        await engine.score(ROWS[0])
    assert caught.value.cause == "bad_logits"
    await engine.close()
