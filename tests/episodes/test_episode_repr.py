"""What asyncio and tracebacks print of an episode stays small however long it was."""

from __future__ import annotations

import numpy as np

from agentrl.core import Episode, Message, Origin, SegmentBuilder, Task, Turn


def test_an_episode_of_megabytes_is_told_in_a_line():
    builder = SegmentBuilder()
    builder.append(range(100_000), Origin.PROMPT, -1)
    builder.append_sampled([1, 2], [-0.5, -0.5], [0, 0], 0)
    turn = Turn(np.arange(2), np.zeros(2), "x" * 10**6, observations=[Message("tool", "y" * 10**6)])
    episode = Episode(Task("t", "z" * 10**6), turns=[turn] * 50, segments=[builder.build()])
    assert repr(episode) == "Episode('t', running, 50 turns)"
    assert repr(episode.segments[0]) == "Segment(100002 tokens, 2 sampled)"
    assert len(repr(turn)) < 200
