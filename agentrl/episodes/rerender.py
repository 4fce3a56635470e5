"""Recorded episodes in another tokenizer: what a script or another model did, as tokens of ours.

For imitation only: the sampled tokens keep their origin, but have no behaviour log-probability
(0.0) and no weights version (-1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from agentrl.core import Episode, Generation, Message
from agentrl.episodes.chatformat import ChatFormat
from agentrl.episodes.transcript import Transcript


def as_generation(chat: ChatFormat, text: str, *, ended: bool = True) -> Generation:
    """A message as if it had been sampled; with its end-of-turn token unless it was cut off."""
    tokens = chat.tokenizer.encode_plain(text)
    if ended:
        tokens.append(chat.tokenizer.end_of_turn)
    n = len(tokens)
    return Generation(
        np.asarray(tokens, np.int32),
        np.zeros(n, np.float32),
        np.full(n, -1, np.int32),
        "stop" if ended else "length",
    )


def rerender(episode: Episode, chat: ChatFormat) -> Episode:
    """The same conversation as `chat` tokenises it; task, scores and outcome are shared."""
    transcript = Transcript(chat)
    transcript.open(episode.prompt)
    turns = []
    for index, turn in enumerate(episode.turns):
        said = as_generation(chat, turn.text, ended=turn.finish_reason == "stop")
        transcript.add_turn(said, index)
        turns.append(replace(turn, tokens=said.tokens, logprobs=said.logprobs))
        if index + 1 < len(episode.turns):
            transcript.add_observations(turn.observations, index, turn.calls)
    return replace(episode, turns=turns, segments=transcript.segments())


def conversation(episode: Episode) -> list[Message]:
    """All messages of an episode in order."""
    messages = list(episode.prompt)
    for turn in episode.turns:
        messages += [Message("assistant", turn.text), *turn.observations]
    return messages


def texts(episodes: Sequence[Episode]) -> list[str]:
    """Every message's content: what a tokenizer for these conversations is trained on."""
    return [m.content for episode in episodes for m in conversation(episode)]
