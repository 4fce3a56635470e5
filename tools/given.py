"""Tools whose JSON schema is given: recorded, simulated, or offered by another server."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from agentrl.core import ConfigError
from agentrl.tools.definition import Definition, Tool
from agentrl.tools.schema import BadArguments

Answer = Callable[[dict[str, Any]], Awaitable[Any]]
# jsonschema's own recursion is a Python frame or two a level.
_DEEPEST = 64
_MOST_PROBLEMS = 5


@dataclass(slots=True, frozen=True)
class GivenArguments:
    """Checks an arguments object against a JSON schema; it reaches the tool as it is.

    Attributes:
        strict: refuse names that the schema does not list, also where it would allow them.
        checked: False lets everything through that is an object.
    """

    schema: dict[str, Any]
    strict: bool = True
    checked: bool = True

    def validate(self, arguments: object) -> dict[str, Any]:
        """{"arguments": the object}. Raises BadArguments: one line per problem."""
        if not isinstance(arguments, Mapping):
            kind = type(arguments).__name__
            raise BadArguments(f"arguments should be an object with names and values, got {kind}")
        if self.checked and (found := problems(self.schema, arguments, strict=self.strict)):
            raise BadArguments("\n".join(found))
        return {"arguments": dict(arguments)}


def problems(
    schema: Mapping[str, Any], arguments: Mapping[str, Any], *, strict: bool = True
) -> list[str]:
    """What of an arguments object does not fit a JSON schema; empty when all does.

    The schema may refer to itself; what is nested more deeply than 64 levels does not fit any.
    """
    from jsonschema import Draft202012Validator

    if _depth(arguments, _DEEPEST) > _DEEPEST:
        return [f"nested more than {_DEEPEST} levels deep"]
    found = []
    errors = Draft202012Validator(dict(schema)).iter_errors(dict(arguments))
    for error in sorted(errors, key=lambda e: [str(p) for p in e.path]):
        path = ".".join(map(str, error.path))
        found.append(f"{path}: {error.message[:200]}" if path else error.message[:200])
    known = schema.get("properties", {})
    if strict and not schema.get("patternProperties"):
        found += [f"{name}: there is no such argument" for name in arguments if name not in known]
    return list(dict.fromkeys(found))[:_MOST_PROBLEMS]


def _depth(value: Any, limit: int) -> int:
    """How deeply lists and objects are nested, counted up to one more than `limit`."""
    level = [value]
    depth = 0
    while level and depth <= limit:
        inner: list[Any] = []
        for item in level:
            if isinstance(item, Mapping):
                inner += item.values()
            elif isinstance(item, list | tuple):
                inner += item
        level = inner
        depth += 1
    return depth


def given_tool(
    spec: Mapping[str, Any],
    answer: Answer,
    *,
    timeout: float = 60.0,
    concurrent: bool = False,
    max_output: int = 8000,
    strict: bool = True,
    checked: bool = True,
) -> Tool:
    """A tool from {"name", "description", "parameters"} (or OpenAI's {"function": {..}}).

    Args:
        answer: awaited with the arguments object; what it returns is put into words.

    Raises:
        ConfigError: no name, or parameters that are no JSON schema of an object.
    """
    function = spec.get("function", spec)
    name, parameters = function.get("name"), function.get("parameters") or {}
    _check_schema(name, parameters)
    schema = {"type": "object", "properties": {}, **parameters}

    async def call(arguments: dict[str, Any]) -> Any:
        return await answer(arguments)

    definition = Definition(
        function=call,
        name=name,
        description=str(function.get("description", "")),
        timeout=timeout,
        concurrent=concurrent,
        max_output=max_output,
        is_async=True,
        cached=GivenArguments(schema, strict, checked),
    )
    return definition.bind(call)


def _check_schema(name: Any, parameters: Any) -> None:
    if not isinstance(name, str) or not name:
        raise ConfigError("a tool specification has no name", fix='write {"name": "..", ..}')
    if fault := _fault(parameters):
        raise ConfigError(f"the parameters are no JSON schema: {fault}", where=f"tool {name}")
    if not isinstance(parameters, dict) or parameters.get("type", "object") != "object":
        raise ConfigError(
            "the parameters are no JSON schema of an object",
            where=f"tool {name}",
            fix='write {"type": "object", "properties": {..}}',
        )


def _fault(schema: Any) -> str:
    """What makes it no JSON schema; empty for one. The same tools come with every episode, and a
    check takes milliseconds."""
    try:
        return _known_fault(json.dumps(schema, sort_keys=True))
    except (TypeError, ValueError, RecursionError):  # holds what JSON does not know
        return _found_fault(schema)


@lru_cache(maxsize=1024)
def _known_fault(text: str) -> str:
    return _found_fault(json.loads(text))


def _found_fault(schema: Any) -> str:
    from jsonschema import Draft202012Validator, SchemaError

    try:
        Draft202012Validator.check_schema(schema)
    except (SchemaError, RecursionError) as error:
        return str(error).splitlines()[0]
    return ""
