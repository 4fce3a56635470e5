"""From a typed function to the JSON schema and the validator of its arguments.

Both are built once, when the function is decorated; a call only runs the compiled validator.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.errors import PydanticUserError
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema

from agentrl.core import ConfigError
from agentrl.tools.docstrings import parse_docstring
from agentrl.tools.wording import bad_argument_lines, nearest

_CONFIG = ConfigDict(extra="forbid", arbitrary_types_allowed=False, coerce_numbers_to_str=True)


class BadArguments(ValueError):
    """Arguments that do not fit the signature; the message has one line per argument."""


class _QuietSchema(GenerateJsonSchema):
    """A default that JSON cannot express is left out of the schema; it still applies."""

    ignored_warning_kinds = frozenset({"skipped-choice", "non-serializable-default"})  # type: ignore[assignment]


class Checked(Protocol):
    """The arguments of a tool: what the policy is told of them, and what a call may give."""

    @property
    def schema(self) -> dict[str, Any]: ...

    def validate(self, arguments: object) -> dict[str, Any]:
        """The keyword arguments to call with. Raises BadArguments."""
        ...


@dataclass(slots=True, frozen=True)
class Arguments:
    """The arguments of one tool.

    Attributes:
        schema: JSON schema of the arguments object, references inlined, titles left out.
        names: parameter names by field of `model`. Fields have neutral names, because a tool
            may call a parameter `json`, `schema` or `_x`, which pydantic keeps for itself.
    """

    model: type[BaseModel]
    schema: dict[str, Any]
    names: dict[str, str]

    def validate(self, arguments: object) -> dict[str, Any]:
        """The keyword arguments to call with: only those given, so that defaults stay Python's.

        Raises:
            BadArguments: with a readable message, one line per argument.
        """
        if not isinstance(arguments, Mapping):
            kind = type(arguments).__name__
            raise BadArguments(f"arguments should be an object with names and values, got {kind}")
        try:
            values = self.model.model_validate(arguments)
        except ValidationError as error:
            given = set(arguments)
            free = [name for name in self.names.values() if name not in given]
            lines = bad_argument_lines(error.errors(include_url=False), free)
            raise BadArguments("\n".join(lines)) from None
        return {self.names[field]: getattr(values, field) for field in values.model_fields_set}


def arguments_of(function: Callable[..., Any], names: Mapping[str, Any]) -> Arguments:
    """Read a function's parameters.

    Args:
        function: typed in full; a first parameter called `self` or `cls` is not an argument.
        names: local names that string annotations may refer to.

    Raises:
        ConfigError: *args, **kwargs, a parameter without a type, a type pydantic cannot read.
        NameError: an annotation names something that does not exist yet.
    """
    where = f"{function.__module__}.{function.__qualname__}"
    hints = typing.get_type_hints(function, localns=dict(names), include_extras=True)
    _, described = parse_docstring(function.__doc__)
    parameters = parameters_of(function)
    for name in described:
        if name not in parameters:
            guess = nearest(name, parameters)
            raise ConfigError(
                f"the docstring describes {name!r}, which is not a parameter",
                where=where,
                fix=f"did you mean {guess!r}?" if guess else f"parameters: {', '.join(parameters)}",
            )
    fields: dict[str, Any] = {}
    for index, (name, parameter) in enumerate(parameters.items()):
        field = _field(name, parameter, hints.get(name), described.get(name))
        fields[f"arg_{index}"] = (hints[name], field)
    try:
        model = create_model(f"{function.__name__}_arguments", __config__=_CONFIG, **fields)
        schema = model.model_json_schema(schema_generator=_QuietSchema)
    except PydanticUserError as error:
        fix = "use types that JSON can express: str, int, float, bool, list, dict, a dataclass, .."
        raise ConfigError(str(error).splitlines()[0], where=where, fix=fix) from error
    return Arguments(model, _tidy(schema), dict(zip(fields, parameters, strict=True)))


def parameters_of(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The parameters a policy may fill in. Raises ConfigError for those it could not."""
    where = f"{function.__module__}.{function.__qualname__}"
    parameters = dict(inspect.signature(function).parameters)
    if parameters and next(iter(parameters)) in ("self", "cls"):
        parameters.pop(next(iter(parameters)))
    for name, parameter in parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            stars = "*" if parameter.kind is parameter.VAR_POSITIONAL else "**"
            raise ConfigError(
                f"a tool cannot take {stars}{name}: the policy has to be told every argument",
                where=where,
                fix=f"name the arguments, or take one `{name}: list[str]` or `dict[str, str]`",
            )
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise ConfigError(
                f"parameter {name!r} is positional-only, and a policy calls by name",
                where=where,
                fix="remove the `/` from the signature",
            )
        if parameter.annotation is parameter.empty:
            raise ConfigError(
                f"parameter {name!r} has no type",
                where=where,
                fix=f"write `{name}: str`, or whatever it is: the policy is told, and held to it",
            )
        if isinstance(parameter.default, FieldInfo):
            raise ConfigError(
                f"the default of parameter {name!r} is a pydantic Field",
                where=where,
                fix=f"write `{name}: Annotated[int, Field(..)]`, so plain calls work too",
            )
    return parameters


def _field(
    name: str, parameter: inspect.Parameter, hint: Any, description: str | None
) -> FieldInfo:
    """What Annotated[.., Field(..)] says wins over the docstring."""
    default = ... if parameter.default is parameter.empty else parameter.default
    stated = [m for m in getattr(hint, "__metadata__", ()) if isinstance(m, FieldInfo)]
    if description is None or any(m.description for m in stated):
        return Field(default, alias=name)
    return Field(default, alias=name, description=description)


def _tidy(schema: dict[str, Any]) -> dict[str, Any]:
    """Inline references (chat templates and servers read them badly) and drop titles.

    A type that contains itself cannot be inlined; its definition stays under `$defs`.
    """
    definitions: dict[str, Any] = schema.pop("$defs", {})
    kept: set[str] = set()

    def walk(node: Any, inside: tuple[str, ...], is_names: bool) -> Any:
        if isinstance(node, list):
            return [walk(item, inside, False) for item in node]
        if not isinstance(node, dict):
            return node
        if not is_names and isinstance(node.get("$ref"), str):
            key = node["$ref"].rsplit("/", 1)[-1]
            if key in inside:
                kept.add(key)
                return node
            rest = {k: v for k, v in node.items() if k != "$ref"}
            target = walk(definitions[key], (*inside, key), False)
            return {**target, **walk(rest, inside, False)}
        return {
            key: walk(value, inside, not is_names and key == "properties")
            for key, value in node.items()
            if is_names or key != "title"
        }

    tidy: dict[str, Any] = walk(schema, (), False)
    tidy.setdefault("properties", {})
    # The validator refuses unknown names anyway; in a prompt this line only costs tokens.
    tidy.pop("additionalProperties", None)
    if kept:
        tidy["$defs"] = {key: walk(definitions[key], (key,), False) for key in sorted(kept)}
    return tidy
