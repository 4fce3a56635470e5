"""What tests of one-answer environments share: an episode as the runner would leave it."""

from __future__ import annotations

import numpy as np

from agentrl.core import Episode, Reward, Score, Task, ToolCall, Turn
from agentrl.environments import Environment, maybe_await


def said(text: str, *calls: ToolCall) -> Turn:
    return Turn(np.zeros(0, np.int32), np.zeros(0, np.float32), text, calls=list(calls))


async def play(environment: Environment, task: Task, *messages: str | Turn) -> Episode:
    """Run an environment on messages of a policy, to its outcome."""
    episode = Episode(task)
    await maybe_await(environment.reset(task))
    for message in messages:
        turn = said(message) if isinstance(message, str) else message
        episode.turns.append(turn)
        observation = await environment.step(turn)
        turn.observations = observation.messages
        if observation.done:
            break
    episode.outcome = await environment.finish(episode)
    await maybe_await(environment.close())
    return episode


async def judged(
    reward: Reward, environment: Environment, task: Task, *messages: str | Turn
) -> Score:
    return await reward.score(await play(environment, task, *messages))
