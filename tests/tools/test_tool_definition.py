from __future__ import annotations

import enum
import time
from dataclasses import dataclass
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from agentrl.core import ConfigError
from agentrl.tools import tool, tools_of


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Point:
    x: int
    y: int = 0


class Node(BaseModel):
    value: int
    children: list[Node] = []


class Box:
    @tool
    def everything(
        self,
        number: int,
        json: str,
        _private: float = 0.5,
        color: Color = Color.RED,
        mode: Literal["fast", "slow"] = "fast",
        items: list[int] | None = None,
        point: Point | None = None,
        tree: Node | None = None,
        share: Annotated[float, Field(gt=0, le=1, description="A share.")] = 1.0,
    ) -> str:
        """Do one thing
        in two lines.

        And say why.

        Args:
            number: how many,
                counted from 1.
            json (str): a name: pydantic keeps it for itself.
            share: not shown, the type says it.

        Returns:
            Not for the policy.
        """
        return repr((number, json, _private, color, mode, items, point, tree, share))


@tool
def early(y: Later) -> None: ...


def test_the_schema_says_what_the_signature_and_the_docstring_say():
    found = tools_of(Box())["everything"]
    assert found.description == "Do one thing in two lines.\nAnd say why."
    assert found.parameters["required"] == ["number", "json"]
    shown = found.parameters["properties"]
    assert list(shown)[:3] == ["number", "json", "_private"]
    assert shown["number"] == {"type": "integer", "description": "how many, counted from 1."}
    assert shown["json"]["description"] == "a name: pydantic keeps it for itself."
    assert shown["_private"] == {"type": "number", "default": 0.5}
    assert shown["color"] == {"type": "string", "enum": ["red", "blue"], "default": "red"}
    assert shown["mode"]["enum"] == ["fast", "slow"]
    assert shown["items"]["anyOf"][0] == {"type": "array", "items": {"type": "integer"}}
    assert shown["point"]["anyOf"][0]["properties"]["y"] == {"type": "integer", "default": 0}
    assert shown["share"]["description"] == "A share."
    assert shown["share"]["exclusiveMinimum"] == 0
    assert "title" not in str(found.parameters)


def test_a_type_that_contains_itself_keeps_its_definition_and_no_dangling_reference():
    parameters = tools_of(Box())["everything"].parameters
    assert "$ref" not in parameters["properties"]["tree"]["anyOf"][0]
    assert parameters["$defs"]["Node"]["properties"]["children"]["items"] == {
        "$ref": "#/$defs/Node"
    }


async def test_values_arrive_as_the_types_that_were_asked_for():
    found = tools_of(Box())["everything"]
    arguments = {
        "number": "7",
        "json": 5,
        "color": "blue",
        "point": {"x": 1},
        "tree": {"value": 1, "children": [{"value": 2}]},
        "share": 0.5,
    }
    result = await found(arguments)
    tree = Node(value=1, children=[Node(value=2)])
    expected = (7, "5", 0.5, Color.BLUE, "fast", None, Point(1), tree, 0.5)
    assert result.text == repr(expected)


def test_a_parameter_called_title_or_properties_survives_the_tidying():
    @tool
    def odd(title: str, properties: dict[str, int]) -> None: ...

    shown = tools_of(odd)["odd"].parameters["properties"]
    assert shown["title"] == {"type": "string"}
    assert shown["properties"]["additionalProperties"] == {"type": "integer"}


def test_local_types_and_later_types_resolve():
    class Local(enum.Enum):
        A = "a"

    @tool
    def use(x: Local) -> None: ...

    assert tools_of(use)["use"].parameters["properties"]["x"]["enum"] == ["a"]
    shown = tools_of(early)["early"].parameters["properties"]
    assert shown["y"]["properties"] == {"n": {"type": "integer"}}

    @tool
    def never(x: Missing) -> None: ...  # noqa: F821

    with pytest.raises(ConfigError, match="name 'Missing' is not defined"):
        tools_of(never)


class Later(BaseModel):
    n: int


def test_decorated_functions_stay_functions():
    @tool(name="plus", timeout=3, max_output=100, concurrent=True)
    def add(a: int, b: int = 2) -> int:
        return a + b

    assert add(1) == 3
    (found,) = tools_of(add).values()
    assert (found.name, found.timeout, found.max_output, found.concurrent) == ("plus", 3, 100, True)
    assert Box().everything(1, "x").startswith("(1, 'x'")


def test_tools_are_bound_to_their_own_instance_and_inherited_in_order():
    class Counter:
        def __init__(self, n: int):
            self.n = n

        @tool
        def first(self) -> int:
            return self.n

        @tool
        def base(self) -> None: ...

    class Child(Counter):
        @tool
        def second(self) -> int:
            return self.n

        @tool
        def first(self) -> int:
            return -self.n

        @staticmethod
        @tool
        def static(x: int) -> int:
            return x

    one, two = Child(1), Child(2)
    assert list(tools_of(one)) == ["first", "base", "second", "static"]
    assert tools_of(two)["first"].function() == -2
    assert tools_of(one)["first"].function() == -1
    assert tools_of(one)["static"].function(3) == 3


def args(*numbers: int) -> None: ...
def kwargs(**options: str) -> None: ...
def untyped(a, b: int) -> None: ...
def positional(a: int, /) -> None: ...
def strange(a: type(iter([]))) -> None: ...
def field_default(a: int = Field(gt=0)) -> None: ...


def misspelt(source: str) -> None:
    """Do.

    Args:
        sorce: from where.
    """


@pytest.mark.parametrize(
    ("function", "message", "fix"),
    [
        (args, "a tool cannot take *numbers", "`numbers: list[str]`"),
        (kwargs, "a tool cannot take **options", "name the arguments"),
        (untyped, "parameter 'a' has no type", "write `a: str`"),
        (positional, "positional-only", "remove the `/`"),
        (strange, "Unable to generate pydantic-core schema", "types that JSON can express"),
        (field_default, "is a pydantic Field", "Annotated[int, Field(..)]"),
        (misspelt, "describes 'sorce'", "did you mean 'source'?"),
        (Box, "@tool needs a function, got type", "below @staticmethod"),
    ],
)
def test_a_definition_that_cannot_work_is_refused_where_it_is_written(function, message, fix):
    with pytest.raises(ConfigError) as caught:
        tool(function)
    assert message in str(caught.value)
    assert fix in caught.value.fix
    if function is not Box:
        assert function.__name__ in caught.value.where


@pytest.mark.parametrize(
    "options",
    [{"name": "no spaces"}, {"timeout": 0}, {"timeout": float("inf")}, {"max_output": 3}],
)
def test_limits_and_names_that_make_no_sense_are_refused(options):
    with pytest.raises(ConfigError):
        tool(**options)(lambda_free)


def lambda_free(a: int) -> None: ...


@given(st.text(max_size=200))
def test_no_docstring_breaks_a_definition(text):
    def f(a: int) -> None: ...

    f.__doc__ = f"Do it.\n\n{text}".replace("Args", "").replace("Arguments", "")
    f.__doc__ = f.__doc__.replace("Parameters", "")
    assert tools_of(tool(f))["f"].parameters["properties"]["a"]["type"] == "integer"


async def test_calls_do_not_build_schemas_again():
    box = Box()
    found = tools_of(box)["everything"]
    begin = time.process_time()
    for _ in range(500):
        await tools_of(box)["everything"]({"number": 1, "json": "x"})
    # One model build costs about a millisecond; a call through a thread a tenth of that.
    assert (time.process_time() - begin) / 500 < 0.0008
    assert tools_of(box)["everything"].parameters is found.parameters
