"""Each thing a policy or a tool can do wrong, with the message that comes of it."""

import asyncio
import os
import sys
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from agentrl.core import SandboxError, ToolCall
from agentrl.tools import Shell, run_calls, tool, tools_of


class Address(BaseModel):
    city: str
    zip: int


class Box:
    @tool
    async def send(
        self,
        to: str,
        amount: int,
        kind: Literal["gift", "loan"] = "gift",
        address: Address | None = None,
        notes: list[str] | None = None,
    ) -> str:
        return "sent"

    @tool
    def divide(self, a: int, b: int) -> float:
        return self._inner(a, b)

    def _inner(self, a: int, b: int) -> float:
        return a / b

    @tool
    async def lookup(self, key: str) -> str:
        return os.environ[key]

    @tool
    def leave(self) -> None:
        sys.exit(3)

    @tool
    def stop(self) -> None:
        raise StopIteration

    @tool
    def broken_error(self) -> None:
        raise Unprintable

    @tool
    def endless(self) -> list:
        found: list = []
        found.append(found)
        return found

    @tool(max_output=200)
    def flood(self) -> str:
        return "x" * 100_000_000


class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        ({}, ["to: missing", "amount: missing"]),
        ({"to": "a", "amount": None}, ["amount: should be a valid integer, got null"]),
        (
            {"to": "a", "amount": "ten"},
            ['amount: should be a valid integer, unable to parse string as an integer, got "ten"'],
        ),
        ({"to": ["a"], "amount": 1}, ['to: should be a valid string, got ["a"]']),
        ({"to": "a", "amuont": 1}, None),
        (
            {"to": "a", "amount": 1, "kind": "theft"},
            ["kind: should be 'gift' or 'loan', got \"theft\""],
        ),
        (
            {"to": "a", "amount": 1, "address": {"city": "x"}},
            ["address: zip: missing"],
        ),
        (
            {"to": "a", "amount": 1, "notes": ["x", {"deep": "y" * 99}]},
            [
                'notes: 1: should be a valid string, got {"deep":"' + "y" * 47 + " ...",
            ],
        ),
        ({"to": "a", "amount": 1, "xyz": 1}, ["xyz: no such argument"]),
    ],
)
async def test_wrong_arguments_are_told_in_one_line_each(call, arguments, lines):
    result = await call(Box(), "send", **arguments)
    assert (result.ok, result.error) == (False, "bad_arguments")
    title, *told = result.text.splitlines()
    assert title == "error: bad arguments for send"
    assert told == (
        ["amount: missing", "amuont: no such argument, did you mean 'amount'?"]
        if lines is None
        else lines
    )


@pytest.mark.parametrize("arguments", [[], "text", None, 3])
async def test_arguments_that_are_no_object(arguments):
    (result,) = await run_calls(tools_of(Box()), [ToolCall("send", arguments)])
    assert result.text.splitlines()[1] == (
        f"arguments should be an object with names and values, got {type(arguments).__name__}"
    )


async def test_unknown_tools_are_answered_with_what_there_is():
    (far, near) = await run_calls(tools_of(Box()), [ToolCall("zzzzzz"), ToolCall("sned")])
    names = "send, divide, lookup, leave, stop, broken_error, endless, flood"
    assert far.text == f"error: unknown tool 'zzzzzz'; tools: {names}"
    assert near.text == f"error: unknown tool 'sned'; did you mean 'send'? tools: {names}"
    assert near.error == "unknown_tool"
    (none,) = await run_calls({}, [ToolCall("send")])
    assert none.text == "error: unknown tool 'send'; there are no tools here"


async def test_a_malformed_or_cut_off_call_is_answered_and_never_run():
    ran = []

    @tool
    async def act() -> None:
        ran.append(1)

    malformed = ToolCall("act", error="the arguments are not JSON: line 1 column 5")
    cut = ToolCall("act", error="the message was cut off by the length limit")
    results = await run_calls(tools_of(act), [malformed, cut])
    assert [r.text for r in results] == [
        "error: the arguments are not JSON: line 1 column 5",
        "error: the message was cut off by the length limit",
    ]
    assert [r.error for r in results] == ["malformed", "cut_off"]
    assert ran == []


async def test_a_tool_that_raises_shows_its_own_line_and_not_our_frames(call):
    result = await call(Box(), "divide", a=1, b=0)
    first, second = result.text.splitlines()
    assert first == "error: ZeroDivisionError: division by zero"
    assert second.startswith("  at test_tool_bad_input.py:")
    assert second.endswith(" in _inner: return a / b")
    assert result.error == "raised"
    inside_a_library = await call(Box(), "lookup", key="NOT_SET")
    assert inside_a_library.text.splitlines()[0] == "error: KeyError: 'NOT_SET'"
    assert inside_a_library.text.endswith("in lookup: return os.environ[key]")


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("leave", "error: SystemExit: 3"),
        ("stop", "error: StopIteration\n  at"),
        ("broken_error", "error: Unprintable: (its message could not be shown)"),
        ("endless", "error: PydanticSerializationError: Error serializing to JSON: ValueError: C"),
    ],
)
async def test_no_exception_of_a_tool_kills_the_run(call, name, start):
    result = await call(Box(), name)
    assert result.text.startswith(start)
    assert result.error == "raised"


async def test_a_hundred_megabytes_returned_are_clipped(call):
    result = await call(Box(), "flood")
    assert len(result.text) < 300
    assert "[... 99,999,800 characters cut ...]" in result.text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, max_examples=150)
@given(st.text(), JSON | st.fixed_dictionaries({"to": JSON, "amount": JSON}))
def test_nothing_a_policy_can_send_raises(name, arguments):
    for called in (name, "send"):
        (result,) = asyncio.run(run_calls(tools_of(Box()), [ToolCall(called, arguments)]))
        assert result.text == "sent" or (not result.ok and result.text.startswith("error: "))
        result.text.encode()


@pytest.mark.docker
async def test_a_container_that_dies_under_a_command_is_infrastructure(container, call):
    shell = Shell(container, container.workdir)
    assert (await call(shell, "shell", command="echo alive")).text == "alive"
    running = asyncio.create_task(call(shell, "shell", command="sleep 30"))
    await asyncio.sleep(0.2)
    engine_kill(container)
    with pytest.raises(SandboxError):
        await running


@pytest.mark.docker
async def test_a_command_that_kills_all_it_can_reach_is_an_observation(container, call):
    shell = Shell(container, container.workdir)
    assert (await call(shell, "shell", command="kill -9 -1; kill -9 1")).ok
    assert (await call(shell, "shell", command="echo alive")).text == "alive"


def engine_kill(container):
    import docker

    client = docker.from_env()
    try:
        client.api.kill(container.id)
    finally:
        client.close()
