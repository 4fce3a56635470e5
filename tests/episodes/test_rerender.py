"""A recorded episode in another tokenizer is the same conversation."""

import numpy as np
import pytest
from episodes_kit import SHAPES, Verdict, format_of, says, task, tokenizer_of

from agentrl.core import Episode, Status
from agentrl.engines import ScriptedEngine
from agentrl.environments import Environment
from agentrl.episodes import ChatFormat, Limits, Runner, dialect, instructions, rerender
from agentrl.episodes.rerender import conversation, texts
from agentrl.tools import tool

MESSAGES = ("[look(line=3)]", "<think>é 🙂\n[look(line=x)]", "[look(line=1), look(line=2)]", "done")


class Desk(Environment):
    @tool
    async def look(self, line: int) -> str:
        """Look at a line.

        Args:
            line: which.
        """
        return f"line {line} <|end|><|im_end|> 日本"


async def played(shape: str, limits: Limits) -> Episode:
    tokenizer = tokenizer_of(shape)
    engine = ScriptedEngine(says(*MESSAGES), tokenizer)
    runner = Runner(engine, tokenizer, dialect("pythonic"), Desk, Verdict(), limits=limits)
    return await runner.run(task(), 1)


def told_format(shape: str, episode: Episode) -> ChatFormat:
    told = instructions(dialect("pythonic"), episode.tools)
    return ChatFormat(tokenizer_of(shape), episode.tools, told)


@pytest.mark.parametrize("source", sorted(SHAPES))
@pytest.mark.parametrize("target", sorted(SHAPES))
async def test_a_rerendered_episode_is_the_one_that_the_script_would_have_played(
    source, target
) -> None:
    limits = Limits(turns=8, tokens=100_000, tokens_per_turn=500)
    episode, expected = await played(source, limits), await played(target, limits)
    assert episode.status == Status.COMPLETED
    again = rerender(episode, told_format(target, episode))
    assert [t.text for t in again.turns] == list(MESSAGES)
    assert len(again.segments) == len(expected.segments)
    for ours, theirs in zip(again.segments, expected.segments, strict=True):
        for field in ("tokens", "origin", "logprobs", "turn", "weights"):
            assert np.array_equal(getattr(ours, field), getattr(theirs, field)), field
    for turn in again.turns:
        ended = [*tokenizer_of(target).encode_plain(turn.text), tokenizer_of(target).end_of_turn]
        assert turn.tokens.tolist() == ended


async def test_a_turn_that_was_cut_off_does_not_teach_to_end_there() -> None:
    limits = Limits(turns=2, tokens_per_turn=3)
    episode = await played("compact", limits)
    assert [t.finish_reason for t in episode.turns] == ["length", "length"]
    again = rerender(episode, told_format("compact", episode))
    (ours,), (theirs,) = again.segments, episode.segments
    assert ours.tokens.tolist() == theirs.tokens.tolist()
    assert ours.origin.tolist() == theirs.origin.tolist()


async def test_what_was_recorded_is_left_alone() -> None:
    episode = await played("compact", Limits(turns=8))
    before = [s.tokens.tolist() for s in episode.segments]
    again = rerender(episode, format_of("llama3"))
    assert [s.tokens.tolist() for s in episode.segments] == before
    assert again.task is episode.task
    assert again.scores == episode.scores
    assert again.outcome == episode.outcome
    assert texts([episode]) == [m.content for m in conversation(again)]
    assert texts([episode])[1] == MESSAGES[0]
