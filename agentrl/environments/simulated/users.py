"""Users: a script that waits until it got what it asked for, and a model that plays one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from agentrl.core import ChatModel, ConfigError, InfraError, Message, ToolCall, Turn
from agentrl.environments.simulated.cache import canonical

STOP = "###STOP###"


class User(Protocol):
    """Whom the policy talks to. Both may end the conversation with None."""

    async def opening(self) -> str: ...

    async def reply(self, turns: Sequence[Turn]) -> str | None:
        """The answer to a message without calls. `turns`: all since the user last spoke, that
        message included."""
        ...


@dataclass(slots=True, frozen=True)
class UserTurn:
    """One thing that a scripted user says.

    Attributes:
        require: calls (name, and the arguments that must be as given) that have to succeed before
            the next turn is said. Any order, in any message since this was said.
    """

    say: str
    require: tuple[ToolCall, ...] = ()

    @staticmethod
    def of(plain: dict[str, Any]) -> UserTurn:
        """From {"say": "..", "require": [{"name": "..", "arguments": {..}}]}."""
        calls = (ToolCall(c["name"], c.get("arguments", {})) for c in plain.get("require", ()))
        return UserTurn(plain["say"], tuple(calls))


Gate = Callable[[UserTurn, Sequence[Turn]], Awaitable[bool]]


async def required_calls(said: UserTurn, turns: Sequence[Turn]) -> bool:
    """The strict gate: every required call was made with these arguments, and answered well."""
    made = [
        call
        for turn in turns
        for call, result in zip(turn.calls, turn.results, strict=False)
        if result.ok
    ]
    return all(any(_covers(call, wanted) for call in made) for wanted in said.require)


def _covers(call: ToolCall, wanted: ToolCall) -> bool:
    given = {name: call.arguments.get(name) for name in wanted.arguments}
    return canonical(call.name, given) == canonical(wanted.name, wanted.arguments)


@dataclass(slots=True)
class ScriptedUser:
    """Says its turns one after the other, each only when the gate of the one before is passed.

    Attributes:
        gate: by default `required_calls`; a judge can stand here.
        passed: how many turns were satisfied; the conversation ends at the first that is not.
    """

    turns: Sequence[UserTurn]
    gate: Gate = required_calls
    passed: int = 0
    _next: int = field(default=1, init=False)

    def __post_init__(self) -> None:
        if not self.turns:
            raise ConfigError("a scripted user needs something to say", where="payload.user")

    async def opening(self) -> str:
        return self.turns[0].say

    async def reply(self, turns: Sequence[Turn]) -> str | None:
        if not await self.gate(self.turns[self._next - 1], turns):
            return None
        self.passed += 1
        if self._next == len(self.turns):
            return None
        self._next += 1
        return self.turns[self._next - 1].say


_PLAY = """\
You are a customer who writes to a service desk. What you want and know:
{goal}
Write one short message at a time, as that person would. Tell only what you were asked for. Never \
invent facts. When your wish is fulfilled, or cannot be, answer with {stop} alone."""


@dataclass(slots=True)
class ModelUser:
    """A chat model that plays the user. It sees what is said, never what the tools answer.

    Attributes:
        goal: what it wants and knows.
        most: messages it may write; then it stops.
    """

    model: ChatModel
    goal: str
    most: int = 20
    temperature: float = 0.0
    seed: int = 0
    _said: list[Message] = field(default_factory=list, init=False)

    async def opening(self) -> str:
        first = await self._ask("Hello, how can I help you?")
        if first is None:
            raise InfraError(
                "simulator_failed", "the user had nothing to say", where=self.model.name
            )
        return first

    async def reply(self, turns: Sequence[Turn]) -> str | None:
        return await self._ask(turns[-1].text)

    async def _ask(self, heard: str) -> str | None:
        """To the model the roles are turned round: it is the assistant that plays the user."""
        self._said.append(Message("user", heard))
        if len(self._said) > 2 * self.most:
            return None
        system = Message("system", _PLAY.format(goal=self.goal, stop=STOP))
        answer = await self.model.chat(
            [system, *self._said], temperature=self.temperature, seed=self.seed
        )
        self._said.append(Message("assistant", answer.text))
        text = answer.text.replace(STOP, "").strip()
        return None if STOP in answer.text or not text else text
