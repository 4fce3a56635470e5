"""Answer verification: units by pint, programs in a sandbox, and a bonus that cannot be farmed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_kit import play, said

from agentrl.core import Task, ToolCall
from agentrl.environments.verify import (
    VerdictReward,
    VerifyEnvironment,
    convert,
    make_tasks,
)
from agentrl.rewards.verifiers.numbers import quantity
from agentrl.sandboxes import ProcessPool

CONVERT = ToolCall("convert", {"value": 72, "source": "km/h", "target": "m/s"})


def item(correct: bool, kind: str = "units") -> Task:
    return Task("v", "?", reference={"correct": correct}, metadata={"kind": kind})


@pytest.mark.parametrize("unit", ["nonsense", "10**10**10", "m^99", "", "m" * 200, "().x", "m/"])
def test_what_is_no_unit_is_refused_at_once(unit):
    with pytest.raises(ValueError, match=r"."):
        convert(1.0, unit, "m")


@given(st.floats(1e-6, 1e6), st.sampled_from([("km", "m"), ("h", "s"), ("kJ", "J"), ("degC", "K")]))
def test_there_and_back_again(value, units):
    there = convert(value, *units)
    assert convert(there, *reversed(units)) == pytest.approx(value, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(
    ("correct", "verdict", "kind", "uses_tool", "value"),
    [
        (True, "correct", "units", False, 1.0),
        (True, "correct", "units", True, 1.1),
        (True, "incorrect", "units", True, 0.0),
        (False, "incorrect", "units", True, 1.1),
        (True, "correct", "choice", True, 1.0),
        (True, "perhaps", "units", True, 0.0),
    ],
)
async def test_tools_pay_only_with_the_right_verdict_on_computing_items(
    correct, verdict, kind, uses_tool, value
):
    turns = [said("", CONVERT)] * uses_tool + [said(f"so\nVerdict: {verdict}")]
    episode = await play(VerifyEnvironment(), item(correct, kind), *turns)
    assert (await VerdictReward().score(episode)).value == pytest.approx(value)


async def test_a_failed_call_is_no_computing():
    failed = ToolCall("convert", {"value": 1, "source": "km", "target": "s"})
    turns = [said("", failed), said("Verdict: correct")]
    episode = await play(VerifyEnvironment(), item(True), *turns)
    assert episode.turns[0].results[0].error == "refused"
    assert (await VerdictReward().score(episode)).value == 1.0


async def test_two_verdicts_are_none():
    text = "Verdict: correct\nVerdict: incorrect"
    assert (await play(VerifyEnvironment(), item(True), text)).outcome["verdict"] == ""


async def test_programs_run_in_a_sandbox_and_there_only():
    assert set(VerifyEnvironment().tools) == {"convert"}
    pool = ProcessPool(size=1)
    try:
        program = "a, b = (3 + 1) ** 2, 3**2 + 2 * 3 + 1\nprint(a == b)"
        turns = [
            said("", ToolCall("python", {"code": program})),
            said("", ToolCall("python", {"code": "1 / 0"})),
            said("", ToolCall("python", {"code": "while True: pass"})),
            said("Verdict: correct"),
        ]
        environment = VerifyEnvironment(sandboxes=pool, python_seconds=2.0)
        episode = await play(environment, item(True, "algebra"), *turns)
    finally:
        await pool.close()
    good, raised, endless = (turn.results[0] for turn in episode.turns[:3])
    assert good.text.strip() == "True"
    assert "ZeroDivisionError" in raised.text
    assert "124" in endless.text
    assert (await VerdictReward().score(episode)).value == pytest.approx(1.1)


def test_made_items_are_labelled_rightly():
    import sympy

    for task in make_tasks(200, seed=3):
        reference, candidate = task.payload["reference"], task.payload["candidate"]
        kind = task.metadata["kind"]
        if kind == "units":
            (number, unit), (wanted, target) = map(quantity, (reference, candidate))
            same = convert(number, unit, target) == pytest.approx(wanted)
        elif kind == "choice":
            same = f"({reference})" in candidate
        else:
            gap = sympy.sympify(reference) - sympy.sympify(candidate)
            same = sympy.simplify(gap) == 0 if kind == "algebra" else abs(float(gap)) < 1e-6
        assert same is task.reference["correct"] or same == task.reference["correct"], task.prompt
