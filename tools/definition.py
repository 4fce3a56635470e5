"""`@tool`: from a typed Python function to something a policy can call."""

from __future__ import annotations

import asyncio
import functools
import inspect
import math
import re
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, overload

from agentrl.core import ConfigError, InfraError, ToolResult
from agentrl.tools import wording
from agentrl.tools.docstrings import parse_docstring
from agentrl.tools.schema import BadArguments, Checked, arguments_of, parameters_of
from agentrl.tools.workers import Outcome, workers

F = TypeVar("F", bound=Callable[..., Any])

_MARK = "__agentrl_tool__"
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
# How long a cancelled async tool may take to clean up before it is left behind.
_GRACE = 2.0


class ToolError(Exception):
    """Raise it in a tool to refuse: the policy reads the message and nothing else.

    Any other exception is shown with its type and the line it came from.
    """


@dataclass(slots=True)
class Definition:
    """What `@tool` found out about a function, shared by every instance it is bound to."""

    function: Callable[..., Any]
    name: str
    description: str
    timeout: float
    concurrent: bool
    max_output: int
    is_async: bool
    cached: Checked | None = None

    @property
    def arguments(self) -> Checked:
        """Built at the first use when an annotation named something defined further down."""
        if self.cached is None:
            try:
                self.cached = arguments_of(self.function, {})
            except NameError as error:
                raise ConfigError(
                    f"the type of a parameter cannot be resolved: {error}",
                    where=f"{self.function.__module__}.{self.function.__qualname__}",
                    fix="import the type, or define it at the top level of the module",
                ) from error
        return self.cached

    def bind(self, function: Callable[..., Any]) -> Tool:
        return Tool(
            name=self.name,
            description=self.description,
            parameters=self.arguments.schema,
            timeout=self.timeout,
            concurrent=self.concurrent,
            max_output=self.max_output,
            function=function,
            definition=self,
        )


@dataclass(slots=True)
class Tool:
    """A tool as the policy meets it: what it is told, and what happens when it calls.

    Attributes:
        parameters: JSON schema of the arguments object.
        timeout: seconds a call may take.
        concurrent: safe to run beside other calls of the same turn.
        max_output: characters of an observation; more is clipped with a visible mark.
    """

    name: str
    description: str
    parameters: dict[str, Any]
    timeout: float
    concurrent: bool
    max_output: int
    function: Callable[..., Any] = field(repr=False)
    definition: Definition = field(repr=False)

    @property
    def spec(self) -> dict[str, Any]:
        """The form in which chat templates and servers take tools."""
        return {
            "type": "function",
            "function": {
                "name": self.name,
                "description": self.description,
                "parameters": self.parameters,
            },
        }

    async def __call__(self, arguments: Mapping[str, Any]) -> ToolResult:
        """Validate, run, and put into words. What goes wrong is an observation.

        Raises:
            InfraError: from inside the tool: the infrastructure failed, not the policy.
            asyncio.CancelledError: as always.
        """
        try:
            values = self.definition.arguments.validate(arguments)
        except BadArguments as error:
            return _refusal(f"error: bad arguments for {self.name}\n{error}", "bad_arguments")
        begin = time.perf_counter()
        result = await self._run(values)
        result.seconds = time.perf_counter() - begin
        result.text = wording.clip(result.text, self.max_output)
        return result

    async def _run(self, values: dict[str, Any]) -> ToolResult:
        try:
            if self.definition.is_async:
                outcome = await _run_async(self.function, values, self.timeout)
            else:
                call = functools.partial(self.function, **values)
                outcome = await workers().run(call, self.timeout)
        except TimeoutError:
            text = f"error: {self.name} was stopped after its deadline of {self.timeout:g} s"
            return _refusal(text, "deadline")
        if outcome.error is None:
            try:
                return _as_result(outcome.value)
            except Exception as error:  # noqa: BLE001  (boundary: values of the tool's own types)
                outcome.error = error
        if isinstance(outcome.error, ToolError):
            return _refusal(f"error: {wording.printable(str(outcome.error))}", "refused")
        if isinstance(outcome.error, InfraError | asyncio.CancelledError | KeyboardInterrupt):
            raise outcome.error
        return _refusal(wording.raised(outcome.error, self.definition.function), "raised")


@overload
def tool(function: F) -> F: ...


@overload
def tool(
    *,
    name: str | None = None,
    timeout: float = 30.0,
    concurrent: bool = False,
    max_output: int = 8000,
) -> Callable[[F], F]: ...


def tool(
    function: Callable[..., Any] | None = None,
    *,
    name: str | None = None,
    timeout: float = 30.0,
    concurrent: bool = False,
    max_output: int = 8000,
) -> Any:
    """Make a typed function or method a tool. It stays callable as what it was.

    Types become the JSON schema, the docstring the description, its `Args:` section the
    descriptions of the arguments.

    Args:
        name: what the policy calls it; the function's own name by default.
        timeout: seconds a call may take.
        concurrent: safe to run beside other calls of the same turn.
        max_output: characters of an observation before it is clipped.

    Raises:
        ConfigError: *args or **kwargs, a parameter without a type, a bad name or limit.
    """
    # String annotations may name what is local to the place of definition.
    names = dict(sys._getframe(1).f_locals)

    def decorate(fn: F) -> F:
        if not inspect.isfunction(fn):
            raise ConfigError(
                f"@tool needs a function, got {type(fn).__name__}",
                fix="put @tool below @staticmethod, @classmethod and @property",
            )
        definition = Definition(
            function=fn,
            name=name or fn.__name__,
            description=parse_docstring(fn.__doc__)[0],
            timeout=timeout,
            concurrent=concurrent,
            max_output=max_output,
            is_async=inspect.iscoroutinefunction(fn),
        )
        _check(definition)
        try:
            definition.cached = arguments_of(fn, names)
        except NameError:
            definition.cached = None
        setattr(fn, _MARK, definition)
        return fn

    return decorate if function is None else decorate(function)


def tools_of(source: Any) -> dict[str, Tool]:
    """The tools of an object, bound to it, by name, in the order they were written.

    Args:
        source: an environment or toolbox with `@tool` methods, a `@tool` function, a `Tool`.
    """
    if isinstance(source, Tool):
        return {source.name: source}
    own = getattr(source, _MARK, None)
    if isinstance(own, Definition):
        assert callable(source)
        return {own.name: own.bind(source)}
    kind: type = type(source)
    return {
        definition.name: definition.bind(getattr(source, attribute))
        for attribute, definition in _definitions(kind)
    }


@functools.lru_cache(maxsize=1024)
def _definitions(cls: type) -> tuple[tuple[str, Definition], ...]:
    """Tools of a class by attribute, base classes first; an overridden one counts once."""
    attributes = dict.fromkeys(name for base in reversed(cls.__mro__) for name in vars(base))
    found: dict[str, tuple[str, Definition]] = {}
    for attribute in attributes:
        definition = getattr(inspect.getattr_static(cls, attribute), "__func__", None)
        definition = getattr(definition or inspect.getattr_static(cls, attribute), _MARK, None)
        if not isinstance(definition, Definition):
            continue
        if definition.name in found:
            raise ConfigError(
                f"two tools are called {definition.name!r}",
                where=f"{cls.__module__}.{cls.__qualname__}",
                fix="give one of them another name: @tool(name=..)",
            )
        found[definition.name] = (attribute, definition)
    return tuple(found.values())


def _check(definition: Definition) -> None:
    where = f"{definition.function.__module__}.{definition.function.__qualname__}"
    parameters_of(definition.function)
    if not _NAME.fullmatch(definition.name):
        raise ConfigError(
            f"{definition.name!r} cannot be the name of a tool",
            where=where,
            fix="use 1 to 64 letters, digits, _ and -",
        )
    if not (0 < definition.timeout < math.inf):
        raise ConfigError(f"timeout is {definition.timeout}, not a number of seconds", where=where)
    if definition.max_output < 80:
        raise ConfigError(
            f"max_output is {definition.max_output} characters, too few to say anything",
            where=where,
            fix="use 80 or more",
        )


async def _run_async(
    function: Callable[..., Any], values: dict[str, Any], timeout: float
) -> Outcome:
    """Await a coroutine in a task of its own, because it may swallow its cancellation."""
    task: asyncio.Task[Outcome] = asyncio.create_task(_outcome(function, values))
    try:
        await asyncio.wait((task,), timeout=timeout)
        if not task.done():
            raise TimeoutError
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait((task,), timeout=_GRACE)


async def _outcome(function: Callable[..., Any], values: dict[str, Any]) -> Outcome:
    try:
        return Outcome(await function(**values))
    except asyncio.CancelledError:
        raise
    except (Exception, SystemExit) as error:  # noqa: BLE001  (boundary: the tool's own code)
        return Outcome(error=error)


def _as_result(value: Any) -> ToolResult:
    if not isinstance(value, ToolResult):
        return ToolResult(wording.as_text(value))
    text = wording.printable(value.text)
    # A copy: a tool may hand out the same object twice.
    return ToolResult(text, value.ok, value.error, value.seconds, list(value.images))


def _refusal(text: str, error: str) -> ToolResult:
    return ToolResult(text, ok=False, error=error)
