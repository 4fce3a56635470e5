"""Log-probability rewards on a real model: the engine's scores against one plain forward."""

from __future__ import annotations

from collections.abc import AsyncIterator

import numpy as np
import pytest

from agentrl.core import Episode, InfraError, Origin, Scorer, SegmentBuilder, Status, Task, Turn
from agentrl.engines import TransformersEngine
from agentrl.models import score_logprobs, tiny_policy, train_tokenizer
from agentrl.rewards import judge
from agentrl.rewards.judges.scripted import ScriptedChat
from agentrl.rewards.probability.aligned import SelfAligned
from agentrl.rewards.probability.belief import BeliefProgress
from agentrl.rewards.probability.contexts import Contexts, reduce_logprobs
from agentrl.rewards.probability.reference import ReferenceLikelihood, Rlpr
from agentrl.rewards.probability.self_reward import LastToken
from agentrl.rewards.process.intrinsic import Intrinsic

PROMPT, TURNS, SEEN = "what is it", ["look at it", "so <answer>a cat</answer>"], "a tail"


@pytest.fixture(scope="module")
def policy():
    words = [PROMPT, *TURNS, SEEN, "a dog", "\nAnswer: "]
    return tiny_policy(train_tokenizer(words * 4, 300), hidden=32, layers=2, seed=3)


@pytest.fixture
async def engine(policy) -> AsyncIterator[TransformersEngine]:
    engine = TransformersEngine(policy)
    yield engine
    await engine.close()


def recorded(policy, reference: str = "a dog") -> Episode:
    """An episode with the log-probabilities that the policy gives its tokens."""
    encode = policy.tokenizer.encode_plain
    parts = [(encode(PROMPT), Origin.PROMPT, -1), (encode(TURNS[0]), Origin.SAMPLED, 0)]
    parts += [(encode(SEEN), Origin.OBSERVATION, 0), (encode(TURNS[1]), Origin.SAMPLED, 1)]
    tokens = [t for ids, _, _ in parts for t in ids]
    logprobs = [0.0, *score_logprobs(policy, tokens).tolist()]
    builder, at = SegmentBuilder(), 0
    turns = []
    for ids, origin, turn in parts:
        if origin == Origin.SAMPLED:
            mine = logprobs[at : at + len(ids)]
            builder.append_sampled(ids, mine, [0] * len(ids), turn)
            turns.append(Turn(np.array(ids, np.int32), np.array(mine, np.float32), TURNS[turn]))
        else:
            builder.append(ids, origin, turn)
        at += len(ids)
    task = Task("t", PROMPT, reference={"answer": reference})
    return Episode(task, "e", 0, Status.COMPLETED, turns=turns, segments=[builder.build()])


def forced(policy, context: list[int], text: str) -> np.ndarray:
    """By one plain forward."""
    ids = policy.tokenizer.encode_plain(text)
    return score_logprobs(policy, [*context, *ids])[len(context) - 1 :]


async def test_the_reference_after_the_trace(policy, engine):
    e = recorded(policy)
    assert isinstance(engine, Scorer)
    context = [*e.segments[0].tokens.tolist(), *policy.tokenizer.encode_plain("\nAnswer: ")]
    wanted = forced(policy, context, "a dog")
    for how in ("sum", "mean", "mean_exp", "ppl"):
        score = await judge(ReferenceLikelihood(engine, how), e)
        assert score.value == pytest.approx(reduce_logprobs(wanted, how), rel=1e-4)


async def test_the_own_answer_is_replaced_at_its_tag(policy, engine):
    """RLPR: question, trace up to the tag, tag, reference; and the same without the trace."""
    e = recorded(policy)
    encode = policy.tokenizer.encode_plain
    segment = e.segments[0]
    before = segment.tokens[segment.turn < 1].tolist()
    with_trace = forced(policy, [*before, *encode("so "), *encode("<answer>")], "a dog")
    without = forced(policy, [*encode(PROMPT), *encode("<answer>")], "a dog")
    score = await judge(Rlpr(engine, format=0.0), e)
    f, base = (reduce_logprobs(x, "mean_exp") for x in (with_trace, without))
    assert [c.value for c in score.checks[:2]] == pytest.approx([f, base], rel=1e-4)
    assert score.value == pytest.approx(max(0.0, f - base), abs=1e-6)


async def test_a_frozen_base_stays_that_of_the_first_policy(policy, engine):
    reward = Rlpr(engine)
    await reward.freeze([recorded(policy)])
    reward.base["t"] = 0.25
    assert (await judge(reward, recorded(policy))).checks[1].value == 0.25
    resumed = Rlpr(engine)
    resumed.load_state_dict(reward.state_dict())
    assert resumed.base == {"t": 0.25}
    other = recorded(policy)
    other.task = Task("unseen", PROMPT, reference={"answer": "a dog"})
    with pytest.raises(Exception, match="no base of task 'unseen'"):
        await judge(reward, other)


async def test_beliefs_telescope(policy, engine):
    e = recorded(policy)
    score = await judge(BeliefProgress(engine), e)
    beliefs = [c.value for c in score.checks]
    assert len(beliefs) == 3
    assert score.value == pytest.approx(beliefs[-1] - beliefs[0])
    context = [*policy.tokenizer.encode_plain(PROMPT), *policy.tokenizer.encode_plain("\nAnswer: ")]
    first = reduce_logprobs(forced(policy, context, "a dog"), "exp_mean")
    assert beliefs[0] == pytest.approx(first, rel=1e-4)


async def test_the_answer_without_its_question(policy, engine):
    e = recorded(policy)
    said = e.segments[0].tokens[e.segments[0].action_mask].tolist()
    header = policy.tokenizer.encode_plain(PROMPT)[-3:]
    alone = reduce_logprobs(score_logprobs(policy, [*header, *said])[2:], "ppl")
    given = reduce_logprobs(e.segments[0].logprobs[e.segments[0].action_mask], "ppl")
    score = await judge(SelfAligned(engine), e)
    assert score.value == pytest.approx((alone - given) / alone, rel=1e-3)


async def test_the_last_token(policy, engine):
    e = recorded(policy)
    tokens = [*e.segments[0].tokens.tolist(), 7]
    logprob = float(score_logprobs(policy, tokens)[-1])
    score = await judge(LastToken(engine, token=7, c_ref=logprob - 4.0), e)
    assert score.value == pytest.approx(0.4, abs=1e-3)


def test_contexts_keep_the_sampled_tokens(policy, rewards_kit):
    e = recorded(policy)
    contexts = Contexts(rewards_kit.CharacterModel(lambda c, x: 0.5), bridge="")
    assert contexts.with_trace(e, "").tokens == e.segments[0].tokens.tolist()
    assert contexts.at_turn(e, 0, "").tokens == contexts.without_trace(e, "").tokens


async def test_a_judge_that_is_down_keeps_the_queue(rewards_kit):
    class Down(ScriptedChat):
        async def chat(self, messages, **named):
            raise InfraError("judge_down", "gone")

    reward = Intrinsic(rewards_kit.Fixed(), Down(lambda t, s: ""))
    for key in ("a", "b", "c"):
        reward.observe(key)
    assert await reward.annotate() == 0
    assert reward.metrics() == {"queue": 3, "labels": 0, "positive": 0.0}
    assert list(reward.state_dict()["queue"]) == ["a", "b", "c"]
