"""What the checks of environment papers share: episodes without an engine, tables as policies."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

import numpy as np

from agentrl.core import Episode, Reward, Task, ToolCall, Turn
from agentrl.environments import Environment, maybe_await


async def converse(
    environment: Environment, task: Task, messages: Iterable[str | ToolCall]
) -> Episode:
    """An episode in which a policy says these messages (texts, or calls) until it is over."""
    episode = Episode(task)
    episode.prompt = []
    await maybe_await(environment.reset(task))
    for message in messages:
        text, calls = ("", [message]) if isinstance(message, ToolCall) else (message, [])
        turn = Turn(np.zeros(0, np.int32), np.zeros(0, np.float32), text, calls=calls)
        episode.turns.append(turn)
        if (await environment.step(turn)).done:
            break
    episode.outcome = await environment.finish(episode)
    await maybe_await(environment.close())
    return episode


async def values(reward: Reward, episodes: Sequence[Episode]) -> list[float]:
    """What a reward says of each."""
    return [score.value for score in await asyncio.gather(*map(reward.score, episodes))]


def normalised(rewards: np.ndarray) -> np.ndarray:
    """GRPO's advantages of groups, float[..., G]: zero where a group has no variance."""
    centred = rewards - rewards.mean(-1, keepdims=True)
    spread = rewards.std(-1, keepdims=True)
    return np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 1e-9)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Along the last axis."""
    shifted = np.exp(logits - logits.max(-1, keepdims=True))
    out: np.ndarray = shifted / shifted.sum(-1, keepdims=True)
    return out
