"""Beam statics against closed forms, and choices whose letter says nothing by itself."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_kit import judged, said

from agentrl.core import ConfigError, Episode, Score, Task
from agentrl.environments.beam import (
    Beam,
    BeamEnvironment,
    BeamReward,
)
from agentrl.environments.beam import make_tasks as make_beams
from agentrl.environments.choices import (
    LETTERS,
    ChoiceEnvironment,
    Preference,
    as_choice,
    from_rollouts,
)
from agentrl.environments.choices import make_tasks as make_choices
from agentrl.rewards.verifiers.base import Verified
from agentrl.rewards.verifiers.text import Choice

LETTER = Verified(Choice(), extract="line", reference="letter")
POSITION = st.fractions(0, 1, max_denominator=20)


@settings(max_examples=25, deadline=None)
@given(
    POSITION.filter(lambda a: a < Fraction(1, 2)),
    POSITION.filter(lambda b: b > Fraction(1, 2)),
    st.lists(st.tuples(st.integers(1, 5).map(Fraction), POSITION), min_size=1, max_size=4),
)
def test_reactions_balance_forces_and_moments(a, b, loads):
    left, right = Beam(a, b, tuple(loads)).reactions()
    assert left + right == sum(w for w, _ in loads)
    assert left * a + right * b == sum(w * x for w, x in loads)


def test_one_load_on_a_simple_beam():
    beam = Beam(Fraction(0), Fraction(1), ((Fraction(1), Fraction(1, 4)),))
    assert beam.reactions() == (Fraction(3, 4), Fraction(1, 4))


@pytest.mark.parametrize(
    ("form", "value"),
    [
        ("why\n</think>\n\\boxed{%s}", 1.0),
        ("\\boxed{%s}", 0.667),
        ("why\n</think>\n\\boxed{%sQ}", 0.333),
    ],
)
async def test_form_and_accuracy_add_up(form, value):
    for moved in (False, True):
        (task,) = make_beams(1, loads=3, moved_supports=moved)
        answer = ", ".join(f"{r}P".replace("/", "P/", 1).rstrip("P") if "/" in r else f"{r}P"
                           for r in task.reference["reactions"])  # fmt: skip
        score = await judged(BeamReward(), BeamEnvironment(), task, form % answer)
        assert score.value == pytest.approx(value)


def test_a_letter_says_nothing_by_itself():
    pairs = [Preference(str(i), "?", "good", ("bad",)) for i in range(10_000)]
    counts = Counter(as_choice(pair).reference["letter"] for pair in pairs)
    assert counts["A"] / 10_000 == pytest.approx(0.5, abs=0.02)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 99), st.text(min_size=1), st.integers(1, 6), st.integers(0, 6))
def test_the_gold_text_stands_in_its_slot(seed, name, others, turned):
    pair = Preference(name, "?", "good", tuple(f"bad {i}" for i in range(others)))
    task = as_choice(pair, seed=seed, turned=turned)
    assert task.payload["options"][LETTERS.index(task.reference["letter"])] == "good"
    assert as_choice(pair, seed=seed, turned=turned) == task


def test_the_rotations_of_a_pair_cancel_a_liking_for_a_letter():
    pair = Preference("p", "?", "good", ("bad", "worse"))
    tasks = list(make_choices([pair], both_orders=True))
    assert sorted(task.reference["letter"] for task in tasks) == ["A", "B", "C"]
    assert len({task.id for task in tasks}) == 3


async def test_a_letter_is_checked_like_a_number():
    task = as_choice(Preference("p", "?", "good", ("bad",)))
    gold = task.reference["letter"]
    for text, value in [
        (f"because\nAnswer: {gold}", 1.0),
        (f"Answer: ({gold}).", 1.0),
        ("Answer: A or answer: B", 0.0),
        ("A, I think", 0.0),
    ]:
        assert (await judged(LETTER, ChoiceEnvironment(), task, text)).value == value


def test_bad_pairs_are_refused():
    for others in ((), ("good",), tuple("abcdefghij")):
        with pytest.raises(ConfigError):
            as_choice(Preference("p", "?", "good", others))


def test_own_rollouts_become_a_pair_when_they_are_far_apart():
    def rollout(text: str, value: float) -> Episode:
        return Episode(Task("t", "?"), id=text, turns=[said(text)], scores={"reward": Score(value)})

    episodes = [rollout("so", 0.5), rollout("well", 1.0), rollout("badly", 0.0)]
    pair = from_rollouts("?", episodes, margin=0.8)
    assert pair is not None
    assert (pair.better, pair.others) == ("well", ("badly",))
    assert from_rollouts("?", episodes, margin=1.1) is None
    assert from_rollouts("?", episodes[:1], margin=0.0) is None
