"""Conversations over tools that are simulated, and over services that keep state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from agentrl.core import ConfigError, Episode, Message, Task, ToolCall, Turn
from agentrl.environments.base import Environment, Observation
from agentrl.environments.simulated.cache import CallCache, Recorded
from agentrl.environments.simulated.services import snapshot
from agentrl.environments.simulated.tools import Fallback, Refuse, SimulatedTools
from agentrl.environments.simulated.users import ScriptedUser, User, UserTurn
from agentrl.tools import Tool, run_calls, tools_of

MakeUser = Callable[[Task], User]
MakeServices = Callable[[Task], Mapping[str, object]]


def scripted_user(task: Task) -> User:
    """The user of `payload["user"]`: turns as `UserTurn.of` reads them; without it, the prompt is
    all that is said."""
    turns = task.payload.get("user") or [{"say": task.prompt}]
    try:
        return ScriptedUser([UserTurn.of(turn) for turn in turns])
    except (KeyError, TypeError) as error:
        raise ConfigError(
            f"the user's turns cannot be read: {error!r}",
            where=f"task {task.id}: payload.user",
            fix='[{"say": "..", "require": [{"name": "..", "arguments": {..}}]}, ..]',
        ) from error


class SimulatedEnvironment(Environment):
    """A policy between a user and tools.

    Tools are the union of `payload["tools"]` (specifications, answered by `SimulatedTools` from
    `payload["recorded"]`, the cache and the fallback) and the `@tool` methods of the services. A
    message without calls goes to the user; the episode ends when the user has nothing more to say.

    Args:
        cache: shared by all episodes.
        fallback: what answers a valid call that is not recorded.
        make_user: by default the script of the task.
        make_services: the stateful services of a task by name; their end state is the outcome.
        policy: text of the system message (`payload["policy"]` comes before it).
    """

    # Tools call back into the instance they were made for, so a restored one makes its own.
    shared = ("_cache", "_fallback", "_make_user", "_make_services", "_offered", "_simulated")

    def __init__(
        self,
        *,
        cache: CallCache | None = None,
        fallback: Fallback | None = None,
        make_user: MakeUser = scripted_user,
        make_services: MakeServices | None = None,
        policy: str = "",
    ) -> None:
        self._cache = cache if cache is not None else CallCache()
        self._fallback = fallback or Refuse()
        self._make_user, self._make_services = make_user, make_services
        self._policy = policy
        self._offered: dict[str, Tool] = {}
        self._since: list[Turn] = []
        self._user_turn = 0
        self._user_turns: list[int] = []
        self.services: Mapping[str, object] = {}

    @property
    def tools(self) -> dict[str, Tool]:
        return self._offered

    async def reset(self, task: Task) -> list[Message]:
        """Raises ConfigError: tools, records or user turns of the task cannot be read."""
        self.task = task
        self.services = self._make_services(task) if self._make_services else {}
        self._offer(task)
        self._user = self._make_user(task)
        policy = task.payload.get("policy", self._policy)
        system = [Message("system", policy)] if policy else []
        return [*system, Message("user", await self._user.opening())]

    async def restore(self, task: Task, state: Any) -> None:
        await super().restore(task, state)
        self._offer(task)

    def _offer(self, task: Task) -> None:
        self._simulated = SimulatedTools(
            task.payload.get("tools", ()),
            self._cache,
            self._fallback,
            [_recorded(call, task) for call in task.payload.get("recorded", ())],
        )
        self._offered = {**self._simulated.tools, **service_tools(self.services)}

    async def step(self, turn: Turn) -> Observation:
        """Answer the calls, or hand the message to the user."""
        self._since.append(turn)
        self._user_turns.append(self._user_turn)
        if not turn.calls:
            said = await self._user.reply(self._since)
            self._since = []
            self._user_turn += 1
            return Observation([] if said is None else [Message("user", said)], done=said is None)
        turn.results = [
            await self._simulated.run(call)
            if call.error is None and call.name not in self._offered
            else (await run_calls(self._offered, [call]))[0]
            for call in turn.calls
        ]
        return Observation(
            [
                Message("tool", result.text, call_id=call.id, name=call.name)
                for call, result in zip(turn.calls, turn.results, strict=True)
            ]
        )

    async def finish(self, episode: Episode) -> dict[str, Any]:
        """{"state", "wanted_state", "missing_outputs", "user_turns", "user_turns_passed", "calls"}.

        `user_turns`: for every message, which turn of the user it answers. The wanted state is
        that of fresh services after `reference["calls"]`; null without them.
        """
        said = "\n".join(turn.text for turn in episode.turns if not turn.calls)
        outputs = self.task.reference.get("outputs", [])
        return {
            "state": {name: snapshot(s) for name, s in self.services.items()},
            "wanted_state": await self._wanted_state(),
            "missing_outputs": [o for o in outputs if o.lower() not in said.lower()],
            "user_turns": self._user_turns,
            "user_turns_passed": getattr(self._user, "passed", None),
            "calls": sum(len(turn.calls) for turn in episode.turns),
        }

    async def _wanted_state(self) -> dict[str, Any] | None:
        calls = self.task.reference.get("calls")
        if calls is None or self._make_services is None:
            return None
        fresh = self._make_services(self.task)
        tools = service_tools(fresh)
        for plain in calls:
            call = ToolCall(plain["name"], plain.get("arguments", {}))
            (result,) = await run_calls(tools, [call])
            if not result.ok:
                raise ConfigError(
                    f"the reference call {call.name} fails: {result.text}",
                    where=f"task {self.task.id}: reference.calls",
                )
        return {name: snapshot(service) for name, service in fresh.items()}


def service_tools(services: Mapping[str, object]) -> dict[str, Tool]:
    """The tools of all services. Raises ConfigError when two have the same name.

    A service that has an attribute `tools` (name -> Tool) is asked for it; else its `@tool`
    methods count.
    """
    found: dict[str, Tool] = {}
    for service in services.values():
        own: Mapping[str, Tool] = getattr(service, "tools", None) or tools_of(service)
        for name, made in own.items():
            if name in found:
                raise ConfigError(f"two services have a tool {name!r}", fix="rename one")
            found[name] = made
    return found


def _recorded(plain: Mapping[str, Any], task: Task) -> Recorded:
    try:
        return Recorded(plain["name"], plain.get("arguments", {}), plain["result"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"a recorded call cannot be read: {error!r}",
            where=f"task {task.id}: payload.recorded",
            fix='{"name": "..", "arguments": {..}, "result": ..}',
        ) from error


def services_of(classes: Mapping[str, Callable[[Mapping[str, Any]], object]]) -> MakeServices:
    """Services by name, each made from its part of `payload["services"]`.

    Raises (when a task is begun) ConfigError: a task names a service that does not exist.
    """

    def make(task: Task) -> dict[str, object]:
        wanted: Mapping[str, Any] = task.payload.get("services", {})
        unknown = [name for name in wanted if name not in classes]
        if unknown:
            raise ConfigError(
                f"unknown service {unknown[0]!r}",
                where=f"task {task.id}: payload.services",
                fix=f"there are: {', '.join(classes)}",
            )
        return {name: classes[name](state) for name, state in wanted.items()}

    return make
