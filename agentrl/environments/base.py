"""The environment: what a policy acts in, one instance per episode."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from typing import Any

from agentrl.core import ConfigError, Episode, Message, Task, Turn
from agentrl.core.restore import agree
from agentrl.environments.copies import put, take
from agentrl.tools import Tool, run_calls, tools_of


@dataclass(slots=True)
class Observation:
    """What the environment answers to a turn.

    Attributes:
        messages: what the policy reads next; tool messages answer the calls in their order.
        done: the episode is over.
        rewards: by name, given for this turn as the episode goes.
    """

    messages: list[Message]
    done: bool = False
    rewards: dict[str, float] = field(default_factory=dict)


class Environment:
    """Override `reset`, write `@tool` methods, and keep the state on `self`.

    `reset`, `step`, `finish` and `close` may be sync or async in a subclass.

    Attributes:
        done: a tool sets it to end the episode; calls after it in the same turn do not run.
        toolboxes: further objects whose `@tool` methods the policy gets.
        shared: names of attributes that hold no state of an episode (what the constructor was
            given: a retriever, a cache, a pool); a snapshot leaves them to the new instance.
    """

    done: bool = False
    toolboxes: Sequence[object] = ()
    shared: tuple[str, ...] = ()

    @property
    def tools(self) -> dict[str, Tool]:
        """Own tools first, then those of the toolboxes. Raises ConfigError on a name clash."""
        tools = tools_of(self)
        for box in self.toolboxes:
            for name, tool in tools_of(box).items():
                if name in tools:
                    raise ConfigError(
                        f"two tools are called {name!r}",
                        where=type(self).__qualname__,
                        fix=f"rename one, or leave {type(box).__qualname__} out of `toolboxes`",
                    )
                tools[name] = tool
        return tools

    def reset(self, task: Task) -> str | list[Message] | Awaitable[str | list[Message]]:
        """Set the scene; what it returns is the first thing the policy reads."""
        return task.prompt

    async def step(self, turn: Turn) -> Observation:
        """Run the turn's calls and answer them; fills `turn.results`.

        A turn without calls ends the episode: its text is the answer.
        """
        if not turn.calls:
            self.done = True
            return Observation([], done=True)
        turn.results = await run_calls(self.tools, turn.calls, over=lambda: self.done)
        messages = [
            Message("tool", result.text, call_id=call.id, name=call.name, images=result.images)
            for call, result in zip(turn.calls, turn.results, strict=True)
        ]
        return Observation(messages, done=self.done)

    async def finish(self, episode: Episode) -> dict[str, Any]:
        """Called once, after the last turn: the JSON-able outcome that rewards read."""
        return {}

    async def snapshot(self) -> object:
        """The state between two turns, to be put back any number of times by `restore`.

        Here: a deep copy of the attributes. Raises NoSnapshot when they hold more than values;
        then an episode is taken up by replaying its recorded calls.
        """
        return take(self, self.shared)

    async def restore(self, task: Task, state: Any) -> None:
        """Called on a new instance, in the place of `reset`."""
        put(state, self)

    def agrees(self, recorded: str, now: str) -> bool:
        """Whether a replayed call was answered as recorded; durations and the like do not count."""
        return agree(recorded, now)

    async def close(self) -> None:
        """Give back what the episode held: closes every toolbox that can be closed."""
        for box in self.toolboxes:
            close = getattr(box, "close", None)
            if close is not None:
                await maybe_await(close())


async def maybe_await(value: Any) -> Any:
    """The value itself, or what it comes to when it is awaitable."""
    return await value if inspect.isawaitable(value) else value
