"""First-order logic: parsed by precedence, compared by meaning, perturbed and put right again."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_kit import judged, play

from agentrl.environments.logic import (
    BadFormula,
    FormulaReward,
    LogicEnvironment,
    atoms,
    bleu,
    equivalent,
    make_tasks,
    parse,
    perturb,
    similarity,
)

ALL, SOME = "forall x (P(x) -> Q(x))", "forall x (P(x) and Q(x))"
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


def test_the_numbers_of_the_paper():
    assert similarity(ALL, SOME) == 0.5
    assert similarity("forall x (A(x) -> B(x))", ALL) == 1.0
    assert similarity("P(x", ALL) == 0.0


@settings(max_examples=40, deadline=None)
@given(FORMULAS, FORMULAS)
def test_similarity_is_a_share_and_symmetric_for_equal_literal_counts(a, b):
    value = similarity(a, b)
    assert 0 <= value <= 1
    assert similarity(a, a) == 1
    if len(atoms(parse(a))) == len(atoms(parse(b))):
        assert similarity(b, a) == pytest.approx(value)


@settings(max_examples=40, deadline=None)
@given(FORMULAS)
def test_what_is_printed_is_read_back(text):
    node = parse(text)
    assert parse(str(node)) == node
    assert equivalent(text, str(node)) is True


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("not forall x P(x)", "exists x not P(x)", True),
        ("∀x (P(x) → Q(x))", "forall y (not Q(y) -> not P(y))", True),
        ("P(a) & Q(a) | R(a)", "(P(a) & Q(a)) | R(a)", True),
        ("P(a) -> Q(a) -> R(a)", "P(a) -> (Q(a) -> R(a))", True),
        ("forall x exists y Likes(x, y)", "exists y forall x Likes(x, y)", False),
        (ALL, SOME, False),
        ("P(f(a))", "P(a)", False),
        ("P ⊕ Q", "not (P <-> Q)", True),
        ("forall x (P(x) and exists x Q(x))", "forall y P(y) and exists z Q(z)", True),
    ],
)
def test_z3_decides(first, second, same):
    assert equivalent(first, second) is same


@pytest.mark.parametrize(
    "text",
    ["", "P(x", "forall", "P and", "P Q", "and", "(" * 5000, "not " * 3000, "P(" * 70],
)
def test_what_is_no_formula_is_refused(text):
    with pytest.raises(BadFormula):
        parse(text)


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
    assert parse(current) == parse(text)


async def test_an_answer_is_its_last_line():
    (task,) = make_tasks(1, traits=3)
    gold = task.reference["formula"]
    episode = await play(LogicEnvironment(), task, f"<think>P and</think>\nSo it is\n{gold}\n")
    assert episode.outcome["equivalent"] is True
    for strict in (False, True):
        assert (await FormulaReward(strict=strict).score(episode)).value == pytest.approx(1.0)
    wrong = gold.replace("->", "and") if "->" in gold else gold.replace("exists", "forall")
    score = await judged(FormulaReward(strict=True), LogicEnvironment(), task, wrong)
    assert score.value == 0
    assert 0 < (await judged(FormulaReward(), LogicEnvironment(), task, wrong)).value < 1
    assert (await judged(FormulaReward(), LogicEnvironment(), task, "no idea (")).value == 0
