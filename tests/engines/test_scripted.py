"""Scripts as policies: sent what is new, one generator a session, deterministic by seed."""

import random
from collections.abc import Generator

import pytest

from agentrl.core import Engine, InfraError, Sampling
from agentrl.engines import ScriptedEngine
from agentrl.models import Policy

SAMPLING = Sampling(1.0, 200)


def echo(seed: int) -> Generator[str, str, None]:
    heard = yield ""
    for _ in range(2):
        heard = yield f"{random.Random(seed).randrange(100)}: {heard}"


async def test_a_script_hears_only_what_is_new(policy: Policy) -> None:
    chat = policy.tokenizer
    engine = ScriptedEngine(echo, chat)
    assert isinstance(engine, Engine)
    tokens = chat.encode("<|user|>one<|assistant|>")
    first = await engine.generate(tokens, SAMPLING, session="a", seed=1)
    number = random.Random(1).randrange(100)
    assert chat.decode(first.tokens) == f"{number}: <|user|>one<|assistant|><|end|>"
    tokens = [*tokens, *first.tokens, *chat.encode("<|tool|>two<|end|>")]
    second = await engine.generate(tokens, SAMPLING, session="a", seed=2)
    assert chat.decode(second.tokens) == f"{number}: <|tool|>two<|end|><|end|>"
    tokens = [*tokens, *second.tokens]
    over = await engine.generate(tokens, SAMPLING, session="a", seed=3)
    assert over.tokens.tolist() == [chat.end_of_turn]
    assert over.finish_reason == "stop"
    await engine.close()


async def test_what_a_script_says_is_plain_and_marked_as_not_sampled(policy: Policy) -> None:
    chat = policy.tokenizer
    said = await ScriptedEngine(echo, chat).generate(chat.encode("<|end|>"), SAMPLING, seed=0)
    assert said.tokens.tolist().count(chat.end_of_turn) == 1
    assert not said.logprobs.any()
    assert set(said.weights.tolist()) == {-1}
    assert len(said.tokens) == len(said.logprobs) == len(said.weights)


async def test_sessions_do_not_hear_each_other_and_end(policy: Policy) -> None:
    chat = policy.tokenizer
    engine = ScriptedEngine(echo, chat)
    a = await engine.generate(chat.encode("x"), SAMPLING, session="a", seed=1)
    b = await engine.generate(chat.encode("x"), SAMPLING, session="b", seed=1)
    assert a.tokens.tolist() == b.tokens.tolist()
    await engine.end_session("a")
    again = await engine.generate(chat.encode("x"), SAMPLING, session="a", seed=1)
    assert again.tokens.tolist() == a.tokens.tolist()


async def test_a_message_longer_than_the_limit_is_cut_as_a_length(policy: Policy) -> None:
    def long(seed: int) -> Generator[str, str, None]:
        yield ""
        yield "a b c d e f g h"
        yield "next"

    engine = ScriptedEngine(long, policy.tokenizer)
    said = await engine.generate([7], Sampling(1.0, 3), session="s")
    assert (len(said.tokens), said.finish_reason) == (3, "length")
    later = await engine.generate([7, *said.tokens, 9], SAMPLING, session="s")
    assert policy.tokenizer.decode(later.tokens) == "next<|end|>"


async def test_a_script_that_raises_is_named(policy: Policy) -> None:
    def broken(seed: int) -> Generator[str, str, None]:
        yield ""
        raise ValueError("no such file")

    with pytest.raises(InfraError, match="ValueError: no such file") as caught:
        await ScriptedEngine(broken, policy.tokenizer).generate([7], SAMPLING)
    assert caught.value.cause == "script_failed"


async def test_a_closed_engine_says_so(policy: Policy) -> None:
    engine = ScriptedEngine(echo, policy.tokenizer)
    await engine.close()
    with pytest.raises(InfraError, match="closed"):
        await engine.generate([7], SAMPLING)
