from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from agentrl.core import ToolCall, ToolResult
from agentrl.sandboxes import DockerEngine, DockerSandbox, ProcessSandbox, ensure_image
from agentrl.tools import PytestClient, run_calls, tools_of


@pytest.fixture
async def sandbox() -> AsyncIterator[ProcessSandbox]:
    made = await ProcessSandbox.create()
    yield made
    await made.close()


@pytest.fixture
async def container() -> AsyncIterator[DockerSandbox]:
    engine = DockerEngine()
    made = await DockerSandbox.create(engine, ensure_image(engine=engine))
    yield made
    await made.close()
    engine.close()


@pytest.fixture
async def client(sandbox: ProcessSandbox) -> AsyncIterator[PytestClient]:
    made = PytestClient(sandbox, python=sys.executable)
    yield made
    await made.close()


@pytest.fixture
def root(sandbox: ProcessSandbox) -> Path:
    """The repository as the host sees it."""
    path = Path(sandbox.workdir)
    for name, text in REPOSITORY.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text)
    return path


@pytest.fixture
def call() -> Callable[..., object]:
    """One call of one tool of an object, as the environment would make it."""

    async def run(box: object, name: str, **arguments: object) -> ToolResult:
        return (await run_calls(tools_of(box), [ToolCall(name, arguments)]))[0]

    return run


REPOSITORY = {
    "calc/__init__.py": "",
    "calc/numbers.py": '''\
"""Numbers."""


def clamp(x, low, high):
    if x <= low:
        return low
    if x > high:
        return low
    return x


def div(a, b):
    return a / b
''',
    "calc/stack.py": """\
class Stack:
    def __init__(self):
        self.items = []

    def push(self, item):
        self.items.append(item)
        return self

    @property
    def size(self):
        return len(self.items)


class Queue:
    def push(self, item):
        pass
""",
    "tests/test_numbers.py": """\
from calc.numbers import clamp, div


def test_clamp():
    assert clamp(2, 0, 3) == 2


def test_clamp_high():
    assert clamp(5, 0, 3) == 3


def test_div():
    assert div(1, 0) == 0
""",
    "tests/test_stack.py": """\
import pytest
from calc.stack import Stack


@pytest.fixture
def full():
    return Stack().push(1)


def test_size(full):
    print("noise" * 1000)
    assert full.size == 1


@pytest.mark.skip
def test_later():
    pass


@pytest.mark.xfail
def test_known():
    assert False
""",
}
