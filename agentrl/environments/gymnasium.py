"""Text environments with the interface of Gymnasium: `reset()` and `step(action)`.

TextWorld games, and any `gymnasium.Env` whose actions and observations are texts, run unchanged;
the package itself is not needed here.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from importlib import import_module
from typing import Any

from agentrl.core import ConfigError, Episode, Task
from agentrl.environments.base import Environment
from agentrl.tools import tool

Make = Callable[..., Any]


class GymEnvironment(Environment):
    """One tool, `act`, that takes the environment's actions.

    Args:
        make: what makes the environment: a callable, or its name "module:function"; called with
            `task.payload["make"]` as keyword arguments.
        seconds: of one step.
    """

    def __init__(self, *, make: Make | str, seconds: float = 30.0) -> None:
        self._make = _named(make) if isinstance(make, str) else make
        self._seconds = seconds
        self._world: Any = None
        self._steps: list[float] = []
        self._ended = ""

    async def reset(self, task: Task) -> str:
        """The task's prompt and the first observation."""
        self._world = await asyncio.to_thread(self._make, **task.payload.get("make", {}))
        accepts = inspect.signature(self._world.reset).parameters
        seed = (
            {"seed": task.payload["seed"]} if "seed" in accepts and "seed" in task.payload else {}
        )
        first = await asyncio.to_thread(self._world.reset, **seed)
        shown = first[0] if isinstance(first, tuple) else first
        return f"{task.prompt}\n{shown}".strip()

    @tool(timeout=120.0)
    async def act(self, command: str) -> str:
        """Do something in the world.

        Args:
            command: what to do, in its words.
        """
        async with asyncio.timeout(self._seconds):
            found = await asyncio.to_thread(self._world.step, command)
        shown, reward, ended, cut = _step(found)
        self._steps.append(reward)
        if ended or cut:
            self.done = True
            self._ended = "terminated" if ended else "truncated"
        return str(shown)

    async def finish(self, episode: Episode) -> dict[str, Any]:
        """{"return": the sum of the rewards, "rewards": by action, "ended"}."""
        return {"return": sum(self._steps), "rewards": self._steps, "ended": self._ended}

    async def close(self) -> None:
        world, self._world = self._world, None
        if world is not None and hasattr(world, "close"):
            await asyncio.to_thread(world.close)


def _step(found: Any) -> tuple[Any, float, bool, bool]:
    """(observation, reward, terminated, truncated) of both interfaces, of five and four values."""
    if len(found) == 5:
        shown, reward, ended, cut, _ = found
        return shown, float(reward), bool(ended), bool(cut)
    shown, reward, ended, _ = found
    return shown, float(reward), bool(ended), False


class ScoreGain:
    """Makes of TextWorld's running score the reward of each step."""

    def __init__(self, world: Any) -> None:
        self._world, self._score = world, 0.0

    def reset(self) -> Any:
        self._score = 0.0
        return self._world.reset()

    def step(self, command: str) -> tuple[Any, float, bool, Any]:
        shown, score, done, info = self._world.step(command)
        gained, self._score = float(score) - self._score, float(score)
        return shown, gained, done, info

    def close(self) -> None:
        self._world.close()


def textworld_game(path: str, max_steps: int = 100) -> Any:
    """A TextWorld game file (.z8, .ulx or .json); for `make: agentrl...:textworld_game`."""
    import textworld.gym

    name = textworld.gym.register_game(path, max_episode_steps=max_steps)
    return ScoreGain(textworld.gym.make(name))


def _named(name: str) -> Make:
    module, _, attribute = name.partition(":")
    try:
        found: Make = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"cannot import {name!r}: {error}", where="environment.args.make", fix="module:function"
        ) from error
    return found
