"""First-order logic: shown and read back, perturbed and put right again, judged by meaning."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_kit import judged, play

from agentrl.environments.logic import (
    FormulaReward,
    LogicEnvironment,
    bleu,
    make_tasks,
    parsed,
    perturb,
    show,
)

ATOMS = st.sampled_from(["P(x)", "Q(x)", "R(x, a)", "S"])
SIGNS = ["and", "or", "xor", "->", "<->"]
FORMULAS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.builds("not ({})".format, inner),
        st.builds(
            "({} {} {})".format, inner, st.sampled_from(["and", "or", "xor", "->", "<->"]), inner
        ),
        st.builds("{} x ({})".format, st.sampled_from(["forall", "exists"]), inner),
    ),
    max_leaves=4,
)


@settings(max_examples=30, deadline=None)
@given(FORMULAS)
def test_what_is_shown_is_read_back(text):
    assert parsed(show(parsed(text))) == parsed(text)


def test_bleu_of_short_formulas_uses_short_orders():
    assert bleu("P(x)", "P(x)") == 1.0
    assert bleu("P", "P and Q") == pytest.approx(2.718281828 ** (1 - 3))
    assert bleu("", "P") == 0.0


@settings(max_examples=25, deadline=None)
@given(FORMULAS, st.integers(1, 3), st.integers(0, 99))
def test_every_mistake_comes_with_the_step_that_corrects_it(text, edits, seed):
    wrong, steps = perturb(text, edits, seed=seed)
    assert len(steps) == edits
    assert all(step.startswith("replace ") for step in steps)
    current = wrong
    for step in steps:
        new, old = step.removeprefix("replace ").split(" by ")
        assert new in current
        current = current.replace(new, old, 1) if current.count(new) == 1 else ""
        if not current:
            return  # the mistake stands more than once: the text of the step does not say which
    assert parsed(current) == parsed(text)


async def test_an_answer_is_its_last_line():
    (task,) = make_tasks(1, traits=3)
    gold = task.reference["formula"]
    episode = await play(
        LogicEnvironment(seconds=100.0), task, f"<think>P and</think>\nSo it is\n{gold}\n"
    )
    assert episode.outcome["equivalent"] is True
    for strict in (False, True):
        assert (await FormulaReward(strict=strict).score(episode)).value == pytest.approx(1.0)
    wrong = gold.replace("->", "and") if "->" in gold else gold.replace("exists", "forall")
    score = await judged(FormulaReward(strict=True), LogicEnvironment(seconds=100.0), task, wrong)
    assert score.value == 0
    assert (
        0 < (await judged(FormulaReward(), LogicEnvironment(seconds=100.0), task, wrong)).value < 1
    )
    assert (
        await judged(FormulaReward(), LogicEnvironment(seconds=100.0), task, "no idea (")
    ).value == 0
