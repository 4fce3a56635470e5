"""Hidden tests of a made bug on inputs beside those of its tests.

A policy that sees the failing test can write down what it expects instead of repairing. So the
function is also called with inputs near those that the tests call it with, on which the bug makes
a difference, and must give what the unchanged function gives. Only module-level functions that
take and give plain data can be asked in this way.
"""

from __future__ import annotations

import ast
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from agentrl.core import derive_seed
from agentrl.environments.swe.bench import Bench
from agentrl.environments.swe.package import Package
from agentrl.environments.swe.synth.issue import dotted_path
from agentrl.environments.swe.synth.verify import Verified

FILE = "test_agentrl_probes.py"
_CALLS, _RESULTS = "/tmp/agentrl-calls", "/tmp/agentrl-results"
_MAX_CALLS, _MAX_TRIED, _MAX_TEXT = 40, 60, 2000
_SECONDS = 2.0

_RECORD = """

def _agentrl_recorded(function):
    import functools
    @functools.wraps(function)
    def recorded(*args, **kwargs):
        with open({calls!r}, "a") as file:
            file.write(repr((args, kwargs)).replace("\\n", " ") + "\\n")
        return function(*args, **kwargs)
    return recorded

{name} = _agentrl_recorded({name})
"""
_EVALUATE = """\
from {module} import {name}
CASES = {cases}

def test_all():
    with open({results!r}, "w") as file:
        for args, kwargs in CASES:
            try:
                text = "+" + repr({name}(*args, **kwargs))
            except Exception as error:
                text = "-" + type(error).__name__
            file.write(text.replace("\\n", " ") + "\\n")
"""
_TEST = """\
import pytest
from {module} import {name}

CASES = [
{cases}]


@pytest.mark.parametrize("number", range(len(CASES)))
def test_probe(number):
    args, kwargs, result = CASES[number]
    assert repr({name}(*args, **kwargs)) == result
"""

Call = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass(slots=True, frozen=True)
class Probes:
    """A test file, and the ids of its tests, all of which fail with the bug."""

    text: str
    tests: list[str]


async def make_probes(
    bench: Bench, package: Package, verified: Verified, *, limit: int, seed: int
) -> Probes | None:
    """At most `limit` probes of a bug in one function, None when there can be none."""
    function = verified.bug.function
    if limit < 1 or len(verified.bug.functions) != 1 or "." in function.name:
        return None
    calls = await _recorded(bench, package, verified)
    tried = _near(calls, derive_seed(seed, "probes", verified.bug.key))
    if not tried:
        return None
    buggy: dict[str, str | None] = {p: data.decode() for p, data in verified.sources.items()}
    right = await _results(bench, package, verified, tried, {})
    again = await _results(bench, package, verified, tried, {})
    wrong = await _results(bench, package, verified, tried, buggy)
    chosen = [
        (call, good[1:])
        for call, good, same, bad in zip(tried, right, again, wrong, strict=False)
        if good.startswith("+") and good == same != bad and _plain(good[1:]) is not None
    ][:limit]
    if not chosen:
        return None
    cases = "".join(f"    ({call[0]!r}, {call[1]!r}, {result!r}),\n" for call, result in chosen)
    module = dotted_path(function.path, package.paths)
    text = _TEST.format(module=module, name=function.name, cases=cases)
    return Probes(text, [f"{FILE}::test_probe[{n}]" for n in range(len(chosen))])


async def _recorded(bench: Bench, package: Package, verified: Verified) -> list[Call]:
    """Calls of the unchanged function by the tests that fail with the bug; plain data only."""
    function = verified.bug.function
    source = package.tree[function.path].decode()
    source += _RECORD.format(calls=_CALLS, name=function.name)
    await bench.sandbox.exec(f"rm -f {_CALLS} {_RESULTS}", cwd="/")
    run = await bench.run(
        verified.fail_to_pass, write={function.path: source}, timeout=10 * _SECONDS
    )
    lines = await _lines(bench, _CALLS) if run.status == "finished" else []
    found: dict[str, Call] = {}
    for line in lines:
        call = _plain(line) if len(line) <= _MAX_TEXT else None
        if call is not None and len(found) < _MAX_CALLS:
            found[line] = call[0]
    return list(found.values())


async def _results(
    bench: Bench,
    package: Package,
    verified: Verified,
    tried: list[Call],
    write: dict[str, str | None],
) -> list[str]:
    """What the function gives for each call: "+" and its text, or "-" and the error."""
    function = verified.bug.function
    text = _EVALUATE.format(
        module=dotted_path(function.path, package.paths),
        name=function.name,
        cases=repr(tried),
        results=_RESULTS,
    )
    await bench.sandbox.exec(f"rm -f {_RESULTS}", cwd="/")
    run = await bench.run([FILE], write={**write, FILE: text}, timeout=_SECONDS, whole_files=True)
    return await _lines(bench, _RESULTS) if run.status == "finished" else []


async def _lines(bench: Bench, path: str) -> list[str]:
    try:
        return (await bench.sandbox.read(path)).decode("utf-8", "replace").splitlines()
    except OSError:
        return []


def _plain(text: str) -> tuple[Any] | None:
    """The value that a text writes down, in a tuple of one; None when it is not plain data."""
    try:
        return (ast.literal_eval(text),)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def _near(calls: list[Call], seed: int) -> list[Call]:
    """Calls that differ from a recorded one in one argument, in an order that the seed gives."""
    known = {repr(call) for call in calls}
    found: dict[str, Call] = {}
    for args, kwargs in calls:
        for place in range(len(args)):
            for value in _variants(args[place]):
                call: Call = ((*args[:place], value, *args[place + 1 :]), kwargs)
                found.setdefault(repr(call), call)
        for key in kwargs:
            for value in _variants(kwargs[key]):
                call = (args, {**kwargs, key: value})
                found.setdefault(repr(call), call)
    fresh = [call for text, call in sorted(found.items()) if text not in known]
    random.Random(seed).shuffle(fresh)
    return fresh[:_MAX_TRIED]


def _variants(value: Any) -> Iterator[Any]:
    """Values of the same kind nearby."""
    kind = type(value)
    if kind is bool:
        yield not value
    elif kind is int:
        yield from (value + 1, value - 1, value + 7, -value)
    elif kind is float:
        yield from (value + 0.5, value * 2)
    elif kind in (str, bytes):
        yield from (value + value[:1], value[::-1], value[1:], value * 2)
    elif kind in (list, tuple) and value:
        yield from (value[::-1], value[1:], value[:-1], value + value[:1])
        for inner in _variants(value[0]):
            yield kind([inner, *value[1:]])
    elif kind is dict and value:
        first, *rest = value
        yield {key: value[key] for key in rest}
        for inner in _variants(value[first]):
            yield {**value, first: inner}
