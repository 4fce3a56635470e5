"""The embedded engine: exact log-probabilities, whatever is batched, kept, shared or evicted."""

import asyncio
from collections.abc import Callable, Sequence
from itertools import accumulate

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from agentrl.core import ConfigError, Engine, Generation, Sampling
from agentrl.engines import TransformersEngine
from agentrl.engines import batching as batching_module
from agentrl.engines.cache import KVCache
from agentrl.engines.packing import KVPacking, Span
from agentrl.engines.sampling import draw, uniform
from agentrl.models import (
    CausalPacking,
    ChatTokenizer,
    Policy,
    builtin_template,
    make_policy,
    score_logprobs,
)

PROMPTS = [np.random.default_rng(n).integers(5, 1000, n).tolist() for n in (150, 65, 129, 7, 1)]
Talk = tuple[list[int], list[tuple[int, Generation]]]


async def talk(engine: Engine, number: int, turns: int = 3, end: bool = True) -> Talk:
    """A conversation that is the same whenever its number is: prompt, lengths, observations."""
    tokens = list(PROMPTS[number % len(PROMPTS)])
    said = []
    for turn in range(turns):
        sampling = Sampling(1.0, 6 + number % 7, (4,))
        g = await engine.generate(tokens, sampling, session=f"s{number}", seed=number * 100 + turn)
        said.append((len(tokens), g))
        tokens += g.tokens.tolist()
        tokens += (
            np.random.default_rng(number * 9 + turn).integers(5, 1000, 3 + number % 5).tolist()
        )
        await asyncio.sleep(0.001 * (number % 3))
    if end:
        await engine.end_session(f"s{number}")
    return tokens, said


def flat(talks: Sequence[Talk]) -> list[tuple[list[int], list[list[float]]]]:
    return [(tokens, [g.logprobs.tolist() for _, g in said]) for tokens, said in talks]


def assert_exact(policy: Policy, talks: Sequence[Talk], tolerance: float = 1e-4) -> None:
    for tokens, said in talks:
        plain = score_logprobs(policy, tokens)
        for start, g in said:
            want = plain[start - 1 : start - 1 + len(g.tokens)]
            np.testing.assert_allclose(g.logprobs, want, atol=tolerance)
            assert g.logprobs.dtype == np.float32
            assert len(g.tokens) == len(g.logprobs) == len(g.weights)


async def run(policy: Policy, numbers: Sequence[int], **options: int) -> list[Talk]:
    engine = TransformersEngine(policy, **options)
    try:
        return await asyncio.gather(*(talk(engine, int(n)) for n in numbers))
    finally:
        await engine.close()


async def test_logprobs_equal_the_plain_forward_over_ragged_batches_and_turns(
    policy: Policy,
) -> None:
    assert_exact(policy, await run(policy, range(20)))


async def test_a_seeded_conversation_is_bit_identical_in_any_company_and_order(
    policy: Policy,
) -> None:
    together = dict(enumerate(flat(await run(policy, range(20)))))
    order = np.random.default_rng(1).permutation(20)
    crowded = await run(policy, order, max_slots=3, step_tokens=70)
    alone = [(await run(policy, [n]))[0] for n in (0, 1, 7, 13)]
    assert dict(zip(order.tolist(), flat(crowded), strict=True)) == together
    assert flat(alone) == [together[n] for n in (0, 1, 7, 13)]


async def test_too_little_room_costs_time_but_changes_nothing(policy: Policy) -> None:
    engine = TransformersEngine(policy, cache_tokens=600)
    talks = await asyncio.gather(*(talk(engine, n) for n in range(20)))
    assert engine.counters.preempted > 0
    assert engine.evicted > 0
    await engine.close()
    assert_exact(policy, talks)
    roomy = await run(policy, range(20))
    assert [tokens for tokens, _ in talks] == [tokens for tokens, _ in roomy]


async def test_a_kept_cache_computes_only_what_is_new(policy: Policy) -> None:
    engine = TransformersEngine(policy)
    tokens, said = await talk(engine, 0, turns=3, end=False)
    new = len(PROMPTS[0]) + sum(len(g.tokens) for _, g in said) + 2 * 3
    # The very last token sampled in a conversation never goes through the model.
    assert engine.counters.computed == new - 1
    before = engine.counters.computed
    await engine.generate([*tokens[:100], 7, 7], Sampling(1.0, 1), session="s0")
    assert engine.counters.computed == before + 2
    await engine.close()


async def test_a_group_prefills_its_prompt_once(policy: Policy) -> None:
    engine = TransformersEngine(policy)
    prompt = PROMPTS[0]
    group = await asyncio.gather(
        *(engine.generate(prompt, Sampling(1.0, 4), session=f"m{i}", seed=i) for i in range(8))
    )
    assert engine.counters.shared == 7 * (len(prompt) - 1)
    assert engine.counters.computed == len(prompt) + 7 + 8 * 3
    for i in range(8):
        await engine.end_session(f"m{i}")
    await engine.generate(prompt, Sampling(1.0, 1), session="late")
    assert engine.counters.shared == 8 * (len(prompt) - 1)
    await engine.close()
    for i, member in enumerate(group):
        lonely = TransformersEngine(policy)
        g = await lonely.generate(prompt, Sampling(1.0, 4), seed=i)
        np.testing.assert_array_equal(g.tokens, member.tokens)
        np.testing.assert_array_equal(g.logprobs, member.logprobs)
        assert lonely.counters.shared == 0
        await lonely.close()


async def test_siblings_are_independent_draws(policy: Policy) -> None:
    engine = TransformersEngine(policy)
    said = await asyncio.gather(
        *(engine.generate([7, 8, 9], Sampling(1.0, 6), seed=i) for i in range(40))
    )
    again = await engine.generate([7, 8, 9], Sampling(1.0, 6), seed=0)
    await engine.close()
    assert len({tuple(g.tokens.tolist()) for g in said}) > 35
    assert len({int(g.tokens[0]) for g in said}) > 5
    assert again.tokens.tolist() == said[0].tokens.tolist()


async def test_temperature_zero_is_greedy_and_others_store_untempered_logprobs(
    policy: Policy,
) -> None:
    engine = TransformersEngine(policy)
    greedy = await engine.generate(PROMPTS[0], Sampling(0.0, 8), seed=1)
    other = await engine.generate(PROMPTS[0], Sampling(0.0, 8), seed=2)
    cool = await engine.generate(PROMPTS[1], Sampling(0.5, 8))
    await engine.close()
    assert greedy.tokens.tolist() == other.tokens.tolist()
    tokens = list(PROMPTS[0])
    for token in greedy.tokens:
        row = torch.tensor(next_row(policy, tokens))
        assert int(row.argmax()) == token
        tokens.append(int(token))
    plain = score_logprobs(policy, [*PROMPTS[1], *cool.tokens])[-8:]
    np.testing.assert_allclose(cool.logprobs, plain, atol=1e-4)


async def test_each_position_has_a_uniform_number_of_its_own(policy: Policy) -> None:
    """The slow twin of sampling: one full forward and one draw a token."""
    engine = TransformersEngine(policy, seed=1000)
    said = await engine.generate(PROMPTS[1], Sampling(1.3, 12), seed=11)
    await engine.close()
    tokens = list(PROMPTS[1])
    for position in range(12):
        row = torch.tensor([next_row(policy, tokens)])
        drawn, _ = draw(row, [1.3], [uniform(1011, position)])
        tokens += drawn
    assert said.tokens.tolist() == tokens[len(PROMPTS[1]) :]


def next_row(policy: Policy, tokens: list[int]) -> list[float]:
    """log pi of every token behind `tokens`."""
    with torch.no_grad():
        hidden = policy.body(
            input_ids=torch.tensor([tokens]),
            position_ids=torch.arange(len(tokens))[None],
            use_cache=False,
            packing=CausalPacking([0, len(tokens)]),
        ).last_hidden_state[0, -1:]
        return policy.logits(hidden)[0].log_softmax(-1).tolist()


async def test_a_stop_id_ends_the_generation_and_is_its_last_token(policy: Policy) -> None:
    engine = TransformersEngine(policy)
    free = await engine.generate(PROMPTS[3], Sampling(1.0, 30), seed=3)
    stop = int(free.tokens[9])
    first = free.tokens.tolist().index(stop)
    cut = await engine.generate(PROMPTS[3], Sampling(1.0, 30, (4, stop)), seed=3)
    exact = await engine.generate(PROMPTS[3], Sampling(1.0, first + 1, (stop,)), seed=3)
    short = await engine.generate(PROMPTS[3], Sampling(1.0, 5), seed=3)
    none = await engine.generate(PROMPTS[3], Sampling(1.0, 0), seed=3)
    await engine.close()
    assert free.finish_reason == short.finish_reason == none.finish_reason == "length"
    assert cut.finish_reason == exact.finish_reason == "stop"
    assert cut.tokens.tolist() == exact.tokens.tolist() == free.tokens.tolist()[: first + 1]
    assert (len(short.tokens), len(none.tokens)) == (5, 0)


async def test_a_full_context_is_a_length_not_an_accident(own_policy: Policy) -> None:
    engine = TransformersEngine(own_policy)
    nearly = await engine.generate([7] * 250, Sampling(1.0, 50))
    full = await engine.generate([7] * 256, Sampling(1.0, 50))
    over = await engine.generate([7] * 300, Sampling(1.0, 50))
    await engine.close()
    assert (nearly.finish_reason, len(nearly.tokens)) == ("length", 6)
    assert (full.finish_reason, len(full.tokens)) == ("length", 0)
    assert (over.finish_reason, len(over.tokens)) == ("length", 0)


@pytest.mark.parametrize("tokens", [[], [-1], [10**6]])
async def test_tokens_that_no_model_has_are_refused(policy: Policy, tokens: list[int]) -> None:
    engine = TransformersEngine(policy)
    with pytest.raises(ConfigError, match="asked to continue"):
        await engine.generate(tokens, Sampling())
    await engine.close()


@pytest.mark.parametrize("option", ["max_slots", "step_tokens", "cache_tokens"])
def test_options_that_make_no_sense_are_refused(policy: Policy, option: str) -> None:
    with pytest.raises(ConfigError, match=f"{option} is 0"):
        TransformersEngine(policy, **{option: 0})


async def test_one_session_asked_twice_at_once_answers_both(policy: Policy) -> None:
    engine = TransformersEngine(policy)
    both = await asyncio.gather(
        *(engine.generate(PROMPTS[1], Sampling(1.0, 9), session="x", seed=4) for _ in range(2))
    )
    await engine.close()
    assert both[0].tokens.tolist() == both[1].tokens.tolist()


SIZES = {
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 1600,
}


@pytest.mark.parametrize(
    "build",
    [
        lambda: LlamaForCausalLM(LlamaConfig(**SIZES, num_key_value_heads=1)),
        lambda: LlamaForCausalLM(LlamaConfig(**SIZES, num_key_value_heads=4)),
        lambda: Qwen2ForCausalLM(Qwen2Config(**SIZES, num_key_value_heads=2)),
    ],
)
async def test_other_families_are_as_exact(
    policy: Policy, build: Callable[[], LlamaForCausalLM]
) -> None:
    torch.manual_seed(0)
    model = build().eval()
    for weight in model.parameters():
        weight.data.mul_(3.0)
    chat = ChatTokenizer(policy.tokenizer.hf, builtin_template("compact"))
    other = make_policy(model, chat, torch.device("cpu"))
    assert_exact(other, await run(other, range(6)))


def test_packed_attention_equals_one_padded_batch() -> None:
    """The slow twin: every span padded to the longest, one masked softmax."""
    torch.manual_seed(0)
    heads, kv_heads, width, layers = 4, 2, 8, 2
    spans, keys, values = [], [], []
    for start, n in ((9, 1), (0, 1), (70, 1), (0, 5), (13, 30)):
        cache = KVCache("", kv=torch.randn(2 * layers, 1, kv_heads, 128, width))
        cache.tokens = [0] * start
        spans.append(Span(cache, start, start + n, [0] * n, [0] * n))
        keys.append(cache.kv[2, 0, :, :start].clone())
        values.append(cache.kv[3, 0, :, :start].clone())
    used = sum(len(s) for s in spans)
    q, k, v = (torch.randn(h, 48, width) for h in (heads, kv_heads, kv_heads))
    out = KVPacking(spans, 48, torch.device("cpu")).attend(1, q, k, v, 0.3)
    assert out.shape == (48, heads, width)
    assert not out[used:].any()
    starts = [0, *accumulate(len(s) for s in spans)]
    for i, span in enumerate(spans):
        rows = slice(starts[i], starts[i + 1])
        seen_k = torch.cat([keys[i], k[:, rows]], 1).repeat_interleave(2, 0)
        seen_v = torch.cat([values[i], v[:, rows]], 1).repeat_interleave(2, 0)
        scores = 0.3 * q[:, rows] @ seen_k.transpose(1, 2)
        later = torch.arange(span.end)[None] > torch.arange(span.start, span.end)[:, None]
        want = scores.masked_fill(later, -torch.inf).softmax(-1) @ seen_v
        torch.testing.assert_close(out[rows], want.transpose(0, 1), atol=1e-5, rtol=1e-5)
        assert span.cache.kv is not None
        assert torch.equal(span.cache.kv[2, 0, :, span.start : span.end], k[:, rows])


def test_rows_of_matrix_products_do_not_depend_on_their_number() -> None:
    """What bit-reproducibility rests on; a machine where this fails has the 1e-6 one only."""
    torch.manual_seed(0)
    rows = batching_module.ROWS
    for wide, deep in ((256, 256), (768, 256), (256, 768), (1600, 48)):
        weight, x = torch.randn(wide, deep), torch.randn(1024, deep)
        want = torch.nn.functional.linear(x, weight)
        for n in (rows, 2 * rows, 3 * rows, 9 * rows):
            assert torch.equal(torch.nn.functional.linear(x[:n], weight), want[:n])
            assert torch.equal(torch.nn.functional.linear(x[5 : 5 + n], weight), want[5 : 5 + n])
