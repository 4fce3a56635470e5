"""Code judged in a real sandbox: right, wrong, endless, and cheating."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from agentrl.core import Group, SandboxProvider, Score
from agentrl.rewards import judge
from agentrl.rewards.judges.scripted import ScriptedChat
from agentrl.rewards.learned.decomposition import FactorCode, ReturnDecomposition
from agentrl.rewards.verifiers import CodeChecks, InputOutput, Item, UnitTests
from agentrl.sandboxes import ProcessPool

CASES = [["1 2\n", "3\n"], ["5 5\n", "10\n"]]


@pytest.fixture
async def sandboxes() -> AsyncIterator[SandboxProvider]:
    pool = ProcessPool(size=2)
    yield pool
    await pool.close()


def fenced(code: str) -> str:
    return f"Here it is:\n```python\n{code}\n```\n"


SUM = "a, b = map(int, input().split())\nprint(a + b)"


@pytest.mark.parametrize(
    ("answer", "value", "why"),
    [
        (fenced(SUM), 1.0, "2 cases pass"),
        (fenced(SUM.replace("+", "-")), 0.2, "wrong output"),
        (fenced("raise SystemExit(1)"), 0.0, "exit code 1"),
        (fenced(SUM + "\nraise SystemExit(3)"), 0.0, "exit code 3"),
        (fenced("while True: pass"), 0.0, "timeout"),
        (SUM, 0.0, "no program"),
        (fenced("print(3)"), 0.2, "wrong output"),
    ],
)
async def test_input_and_output(sandboxes, answer, value, why):
    verifier = InputOutput(sandboxes, partial=0.2, seconds=8)
    score = await verifier.verify(Item("q", answer, CASES))
    assert (score.value, why in score.evidence) == (value, True), score


async def test_trailing_space_is_nothing(sandboxes):
    score = await InputOutput(sandboxes).verify(Item("q", fenced("print('3  \\n')"), [["", "3"]]))
    assert score.value == 1


TESTS = {
    "tests": """
from solution import double

def test_small():
    assert double(2) == 4

def test_negative():
    assert double(-3) == -6
"""
}


@pytest.mark.parametrize(
    ("code", "share"),
    [
        ("def double(x): return 2 * x", 1.0),
        ("def double(x): return 4", 0.5),
        ("import sys; sys.exit(0)", 0.0),
        ("import os\ndef double(x): os._exit(0)", 0.0),
        ("def double(x):\n    class Yes:\n        __eq__ = lambda *a: True\n    return Yes()", 1.0),
        ("print('ok'); raise KeyboardInterrupt", 0.0),
    ],
)
async def test_unit_tests_run_each_in_a_process_of_its_own(sandboxes, code, share):
    """An object that equals everything passes a plain `==`: the tests have to be better than that;
    ending the process early does not pass."""
    score = await UnitTests(sandboxes, all_or_nothing=False).verify(Item("q", fenced(code), TESTS))
    assert score.value == share, score
    assert [c.name for c in score.checks] == ["test_small", "test_negative"]


async def test_no_test_functions_abstain(sandboxes):
    assert (await UnitTests(sandboxes).verify(Item("q", fenced("x"), {"tests": "x = 1"}))).abstained


async def test_written_checks(sandboxes):
    checks = [
        {"source": "def check(text):\n    return len(text) > 100", "weight": 0.6},
        {"source": "def check(text):\n    return text.startswith('I')", "weight": 0.4},
    ]
    score = await CodeChecks(sandboxes).verify(Item("q", "I am short", {"checks": checks}))
    assert score.value == pytest.approx(0.4)
    broken = [{"source": "def check(text):\n    raise ValueError('no')", "weight": 1}]
    failed = await CodeChecks(sandboxes).verify(Item("q", "x", {"checks": broken}))
    assert failed.value == 0
    assert "no" in failed.checks[0].evidence


async def test_factors_are_written_tried_and_learned_from(sandboxes, rewards_kit):
    """The first source has the wrong shape and goes back; the second is learned from."""
    good = "def factors(steps):\n    return [[float('good' in s['text'])] for s in steps]"
    flat = "def factors(steps):\n    return [1.0 for s in steps]"
    told: list[str] = []

    def write(text: str, seed: int):
        told.append(text)
        return {"source": good if any("shape [" in t for t in told) else flat}

    reward = ReturnDecomposition(
        rewards_kit.Fixed(read="won"),
        FactorCode(ScriptedChat(write), sandboxes, candidates=1),
        learning_rate=5e-2,
        epochs=200,
    )
    members = [
        rewards_kit.episode(texts, seed=i, outcome={"won": texts.count("good")})
        for i, texts in enumerate((["good", "bad"], ["bad", "bad"], ["good", "good"]))
    ]
    for e in members:
        score = await judge(reward, e)
        assert score.steps == [score.value / 2] * 2
    metrics = await reward.learn([Group(("t",), members)])
    assert metrics["episodes"] == 3
    found: Score = await judge(reward, members[0])
    assert found.value == 1
    assert found.steps[0] > found.steps[1] + 0.5
    again = ReturnDecomposition(
        rewards_kit.Fixed(read="won"), FactorCode(reward.factors.writer, sandboxes)
    )
    again.load_state_dict(reward.state_dict())
    assert (await judge(again, members[0])).steps == found.steps
