"""Hints in real episodes: they are text for the policy, and gone without a trace when stripped."""

from __future__ import annotations

import asyncio
from collections.abc import Generator

import pytest

from agentrl.core import Attempt, Episode, Guide, Message, Origin, Score, Segment, Task
from agentrl.engines import ScriptedEngine
from agentrl.environments import Environment
from agentrl.episodes import ChatFormats, Limits, Runner, Scheduler, dialect, informed
from agentrl.models import ChatTokenizer, builtin_template, train_tokenizer
from agentrl.tools import tool

SECRET = "the key lies under the third stone"
OPENING = Guide([Message("user", SECRET), Message("system", "Think twice.")], note={"level": 1})


class Garden(Environment):
    """Remembers everything that it is told."""

    heard: list[str]

    def reset(self, task: Task) -> list[Message]:
        self.heard = [repr(task)]
        return [Message("system", "A garden."), Message("user", task.prompt)]

    @tool
    async def dig(self, stone: int) -> str:
        """Dig under a stone."""
        self.heard.append(repr(stone))
        return "nothing" if stone != 3 else "a key"

    async def finish(self, episode: Episode) -> dict:
        return {"heard": self.heard}


class One:
    name = "one"

    async def score(self, episode: Episode) -> Score:
        return Score(1.0)


def digger(seed: int) -> Generator[str, str, None]:
    yield ""
    yield "[dig(stone=1)]"
    yield "[dig(stone=3)]"
    yield "found it"


@pytest.fixture(scope="module")
def tokenizer() -> ChatTokenizer:
    texts = ["Find the key.", SECRET, "[dig(stone=1)]", "nothing", "Think twice."] * 5
    return ChatTokenizer(train_tokenizer(texts, 400), builtin_template("compact"))


def play(tokenizer: ChatTokenizer, guide: Guide | None) -> Episode:
    runner = Runner(
        ScriptedEngine(digger, tokenizer),
        tokenizer,
        dialect("pythonic"),
        Garden,
        One(),
        Limits(turns=4),
    )
    attempt = Attempt(Task("t", "Find the key."), 3, guide)
    (episode,) = asyncio.run(Scheduler(runner).attempt([attempt]))
    return episode


def stripped(segment: Segment) -> list[tuple]:
    keep = segment.origin != Origin.HINT
    return [
        tuple(getattr(segment, name)[keep].tolist())
        for name in ("tokens", "origin", "logprobs", "turn", "weights")
    ]


GUIDES = [
    OPENING,
    Guide(turns={1: [Message("user", SECRET)], 2: [Message("system", SECRET)]}, note={"level": 1}),
    Guide([Message("system", SECRET)], {1: [Message("user", "go on")]}, {"level": 1}),
]


@pytest.mark.parametrize("guide", GUIDES)
def test_without_its_hints_an_episode_is_the_plain_one_token_for_token(tokenizer, guide) -> None:
    plain, hinted = play(tokenizer, None), play(tokenizer, guide)
    assert [stripped(s) for s in hinted.segments] == [stripped(s) for s in plain.segments]
    assert any((s.origin == Origin.HINT).any() for s in hinted.segments)
    assert not any((s.origin == Origin.HINT).any() for s in plain.segments)
    assert hinted.guided
    assert not plain.guided


@pytest.mark.parametrize("guide", GUIDES)
def test_the_environment_never_hears_of_a_hint(tokenizer, guide) -> None:
    episode = play(tokenizer, guide)
    assert not any(SECRET in text for text in episode.outcome["heard"])
    told = [m for m in episode.prompt if m.hint]
    told += [m for t in episode.turns for m in t.observations if m.hint]
    assert any(m.content == SECRET for m in told)


def test_a_hint_that_the_sampler_did_not_see_leaves_its_tokens_as_they_were(tokenizer) -> None:
    plain = play(tokenizer, None)
    formats = ChatFormats(tokenizer, dialect("pythonic"))
    note = {"placement": "teacher_only"}
    told = informed(plain, Guide([Message("system", SECRET)], note=note), formats.of(plain.tools))
    assert told is not None
    for with_hint, recorded in zip(told.segments, plain.segments, strict=True):
        found = stripped(with_hint)
        assert found == [part[: len(found[0])] for part in stripped(recorded)]
        assert with_hint.action_mask.sum() == recorded.action_mask.sum()
    assert any((s.origin == Origin.HINT).any() for s in told.segments)
    assert not told.guided
    plain.turns[0].observations = [Message("tool", "something else")]
    assert informed(plain, Guide([Message("system", SECRET)]), formats.of(plain.tools)) is None
