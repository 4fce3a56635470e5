"""Hidden tests of a made bug on inputs beside those of its tests.

A policy that sees the failing test can write down what it expects instead of repairing. So the code
is also used with inputs near those that the tests use it with, on which the bug makes a difference,
and must give what the unchanged code gives. A use is what a test does from outside: it calls a
module-level function (or a static or class method), or makes an object and calls its methods in
turn. One argument of one of these calls is changed; compared is what the last one gives. Arguments
and results have to be plain data, and the use as it was recorded has to give again what it gave, so
that nothing else has a say in it.
"""

from __future__ import annotations

import ast
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from agentrl.core import derive_seed
from agentrl.environments.swe.bench import Bench
from agentrl.environments.swe.functions import Function
from agentrl.environments.swe.package import Package
from agentrl.environments.swe.synth.issue import dotted_path
from agentrl.environments.swe.synth.recording import recorder
from agentrl.environments.swe.synth.verify import Verified

FILE = "test_agentrl_probes.py"
_USES, _RESULTS = "/tmp/agentrl-uses", "/tmp/agentrl-results"
_MAX_USES, _MAX_TRIED, _MAX_TEXT, _MAX_CALLS = 40, 60, 2000, 8
_SECONDS = 2.0

_PLAY = """\
import functools, importlib

OWNER = functools.reduce(getattr, {within!r}, importlib.import_module({module!r}))

def play(calls):
    target = OWNER
    for name, args, kwargs in calls:
        if name == "__init__":
            result = target = OWNER(*args, **kwargs)
        else:
            result = getattr(target, name)
            result = result if args is None else result(*args, **kwargs)
    return result
"""
_EVALUATE = """\
USES = {uses}

def test_all():
    with open({results!r}, "w") as file:
        for calls in USES:
            try:
                text = "+" + repr(play(calls))
            except Exception as error:
                text = "-" + type(error).__name__
            file.write(text.replace("\\n", " ") + "\\n")
"""
_TEST = """\
import pytest

CASES = [
{cases}]


@pytest.mark.parametrize("number", range(len(CASES)))
def test_probe(number):
    calls, result = CASES[number]
    assert repr(play(calls)) == result
"""

Call = tuple[str, tuple[Any, ...] | None, dict[str, Any]]
"""Name, arguments (None: an attribute that is read), keyword arguments."""
Use = tuple[Call, ...]


@dataclass(slots=True, frozen=True)
class Probes:
    """A test file, and the ids of its tests, all of which fail with the bug."""

    text: str
    tests: list[str]


async def make_probes(
    bench: Bench, package: Package, verified: Verified, *, limit: int, seed: int
) -> Probes | None:
    """At most `limit` probes of a bug in one function or method, None when there can be none."""
    if limit < 1 or len(verified.bug.functions) != 1:
        return None
    recorded = await _recorded(bench, package, verified)
    replayed = await _results(bench, package, verified, [use for use, _ in recorded], {})
    exact = [use for (use, gave), got in zip(recorded, replayed, strict=False) if got == "+" + gave]
    tried = _near(exact, derive_seed(seed, "probes", verified.bug.key))
    if not tried:
        return None
    buggy: dict[str, str | None] = {p: data.decode() for p, data in verified.sources.items()}
    right = await _results(bench, package, verified, tried, {})
    again = await _results(bench, package, verified, tried, {})
    wrong = await _results(bench, package, verified, tried, buggy)
    chosen = [
        (use, good[1:])
        for use, good, same, bad in zip(tried, right, again, wrong, strict=False)
        if good.startswith("+") and good == same != bad and _plain(good[1:]) is not None
    ][:limit]
    if not chosen:
        return None
    cases = "".join(f"    ({use!r}, {result!r}),\n" for use, result in chosen)
    text = _play(package, verified.bug.function) + _TEST.format(cases=cases)
    return Probes(text, [f"{FILE}::test_probe[{n}]" for n in range(len(chosen))])


async def _recorded(bench: Bench, package: Package, verified: Verified) -> list[tuple[Use, str]]:
    """How the tests that fail with the bug use the unchanged code, and what the last call gave."""
    function = verified.bug.function
    source = package.tree[function.path].decode() + recorder(function.name, _USES)
    await bench.sandbox.exec(f"rm -f {_USES} {_RESULTS}", cwd="/")
    run = await bench.run(
        verified.fail_to_pass, write={function.path: source}, timeout=10 * _SECONDS
    )
    found: dict[str, tuple[Use, str]] = {}
    for line in await _lines(bench, _USES) if run.status == "finished" else []:
        known = _plain(line) if len(line) <= _MAX_TEXT else None
        if known is None or len(found) == _MAX_USES:
            continue
        use, gave = known[0]
        if len(use) <= _MAX_CALLS and _plain(gave) is not None:
            found.setdefault(repr(use), (use, gave))
    return list(found.values())


async def _results(
    bench: Bench,
    package: Package,
    verified: Verified,
    tried: list[Use],
    write: dict[str, str | None],
) -> list[str]:
    """What each use gives: "+" and its text, or "-" and the error."""
    text = _play(package, verified.bug.function)
    text += _EVALUATE.format(uses=repr(tried), results=_RESULTS)
    await bench.sandbox.exec(f"rm -f {_RESULTS}", cwd="/")
    run = await bench.run([FILE], write={**write, FILE: text}, timeout=_SECONDS, whole_files=True)
    return await _lines(bench, _RESULTS) if run.status == "finished" else []


def _play(package: Package, function: Function) -> str:
    module = dotted_path(function.path, package.paths)
    return _PLAY.format(module=module, within=function.name.split(".")[:-1])


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


def _near(uses: list[Use], seed: int) -> list[Use]:
    """Uses that differ from a recorded one in one argument, in an order that the seed gives."""
    known = {repr(use) for use in uses}
    found: dict[str, Use] = {}
    for use in uses:
        for place, call in enumerate(use):
            for changed in _changed(call):
                near = (*use[:place], changed, *use[place + 1 :])
                found.setdefault(repr(near), near)
    fresh = [use for text, use in sorted(found.items()) if text not in known]
    random.Random(seed).shuffle(fresh)
    return fresh[:_MAX_TRIED]


def _changed(call: Call) -> Iterator[Call]:
    name, args, kwargs = call
    for place in range(len(args or ())):
        assert args is not None
        for value in _variants(args[place]):
            yield name, (*args[:place], value, *args[place + 1 :]), kwargs
    for key in kwargs:
        for value in _variants(kwargs[key]):
            yield name, args, {**kwargs, key: value}


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
