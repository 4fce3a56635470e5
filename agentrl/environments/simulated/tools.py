"""What answers a call that no real tool may get: records first, then rules, then a fallback.

call -> unknown tool?     JSON error
     -> recorded?         the recorded answer, for the same arguments in any order
     -> fits its schema?  else JSON error
     -> fallback:         a live tool, a model that plays the tool, or an error
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict

from agentrl.core import ChatModel, InfraError, Message, ToolCall, ToolResult
from agentrl.environments.simulated.cache import CallCache, Recorded
from agentrl.tools import Tool
from agentrl.tools.given import given_tool, problems

Live = Callable[[dict[str, Any]], Awaitable[Any]]


class Fallback(Protocol):
    """Answers a valid call that is not recorded, with a JSON value.

    Raises `CannotAnswer` with what the policy is told, or `InfraError`.
    """

    async def answer(
        self, spec: Mapping[str, Any], arguments: dict[str, Any], examples: Sequence[Recorded]
    ) -> Any: ...


class CannotAnswer(Exception):
    """The call has no answer here; the policy reads why."""


@dataclass(slots=True)
class Refuse:
    """The fallback "error": only recorded calls have answers."""

    async def answer(
        self, spec: Mapping[str, Any], arguments: dict[str, Any], examples: Sequence[Recorded]
    ) -> Any:
        raise CannotAnswer("no answer is available for these arguments")


@dataclass(slots=True)
class LiveTools:
    """The fallback "live": real tools by name, async functions of the arguments object."""

    tools: Mapping[str, Live]

    async def answer(
        self, spec: Mapping[str, Any], arguments: dict[str, Any], examples: Sequence[Recorded]
    ) -> Any:
        live = self.tools.get(spec["name"])
        if live is None:
            raise CannotAnswer("the service is not available")
        return await live(arguments)


class Played(BaseModel):
    """What a model that plays a tool answers: its reasons, and the tool's output as JSON text."""

    model_config = ConfigDict(extra="forbid")

    analysis: str
    execution_result: str


_PLAY = """\
You play the tool below. Given a call, answer as the real tool would: consistent with the calls \
recorded in this conversation, with the same form. Never explain, never refuse a valid call.
Tool: {spec}
Recorded calls of this conversation:
{examples}"""


@dataclass(slots=True)
class ModelSimulator:
    """The fallback "model": a chat model plays the tool (CM2, paper 23).

    It sees every recorded call of the conversation and answers by a JSON schema. An answer that
    does not hold one is asked for again, `tries` times in all; then the simulator counts as broken,
    which is nobody's reward: InfraError("simulator_failed").
    """

    model: ChatModel
    tries: int = 3
    temperature: float = 0.0
    seed: int = 0

    async def answer(
        self, spec: Mapping[str, Any], arguments: dict[str, Any], examples: Sequence[Recorded]
    ) -> Any:
        shown = "\n".join(
            f"{c.tool}({json.dumps(c.arguments, ensure_ascii=False)}) -> "
            f"{json.dumps(c.result, ensure_ascii=False)}"
            for c in examples
        )
        asked = f"Call: {spec['name']}({json.dumps(arguments, ensure_ascii=False)})"
        messages = [
            Message("system", _PLAY.format(spec=json.dumps(spec), examples=shown or "none")),
            Message("user", asked),
        ]
        problem = ""
        for attempt in range(self.tries):
            reply = await self.model.chat(
                messages,
                schema=Played,
                temperature=self.temperature,
                seed=self.seed + attempt,
            )
            if isinstance(reply.parsed, Played):
                return _value(reply.parsed.execution_result)
            problem = reply.problem or "no JSON of the schema"
        raise InfraError(
            "simulator_failed",
            f"{self.tries} answers could not be used, the last one: {problem}",
            where=f"{self.model.name} as {spec['name']}",
            fix="take a model that follows JSON schemas, or record the calls",
        )


def _value(text: str) -> Any:
    """JSON when it is some, else the text itself: real tools answer either way."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


@dataclass(slots=True)
class SimulatedTools:
    """Answers calls to tools of which only the specifications exist.

    Attributes:
        specs: {"name", "description", "parameters"} or OpenAI's {"function": {..}}.
        cache: recorded calls; in record mode the fallback's answers are kept in it.
        recorded: the calls of this conversation's record: known too, and the fallback's examples.
    """

    specs: Sequence[Mapping[str, Any]]
    cache: CallCache = field(default_factory=CallCache)
    fallback: Fallback = field(default_factory=Refuse)
    recorded: Sequence[Recorded] = ()
    tools: dict[str, Tool] = field(init=False)
    _conversation: CallCache = field(init=False)
    _by_name: dict[str, Mapping[str, Any]] = field(init=False)

    def __post_init__(self) -> None:
        """Raises ConfigError for a specification that is none."""
        self._by_name = {}
        self.tools = {}
        for spec in self.specs:
            made = given_tool(spec, self._call(spec), checked=False)
            self.tools[made.name] = made
            self._by_name[made.name] = {
                "name": made.name,
                "description": made.description,
                "parameters": made.parameters,
            }
        self._conversation = CallCache(calls=self.recorded)

    async def run(self, call: ToolCall) -> ToolResult:
        """The answer to one call; what the policy did wrong is JSON that says so."""
        if call.error is not None:
            return ToolResult(f"error: {call.error}", ok=False, error="malformed")
        spec = self._by_name.get(call.name)
        if spec is None:
            return _refused("unknown_tool", f"there is no tool {call.name!r}")
        known = self._conversation.get(call.name, call.arguments)
        known = known or self.cache.get(call.name, call.arguments)
        if known is not None:
            return ToolResult(_text(known.result))
        if wrong := problems(spec["parameters"], call.arguments):
            return _refused("bad_arguments", "; ".join(wrong))
        try:
            result = await self.fallback.answer(spec, call.arguments, list(self._conversation))
        except CannotAnswer as error:
            return _refused("refused", str(error))
        self.cache.put(call.name, call.arguments, result)
        return ToolResult(_text(result))

    def _call(self, spec: Mapping[str, Any]) -> Live:
        name = spec.get("function", spec).get("name", "")

        async def answer(arguments: dict[str, Any]) -> ToolResult:
            return await self.run(ToolCall(name, arguments))

        return answer


def _text(result: Any) -> str:
    return result if isinstance(result, str) else json.dumps(result, ensure_ascii=False)


def _refused(code: str, message: str) -> ToolResult:
    body = {"error_tool_call": {"code": code, "message": message}}
    return ToolResult(json.dumps(body, ensure_ascii=False), ok=False, error=code)
