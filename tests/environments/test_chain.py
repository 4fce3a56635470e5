"""Chains keep every gold answer, and no later problem can be solved without the one before."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_kit import play

from agentrl.core import ConfigError, Task
from agentrl.environments.chain import (
    ChainEnvironment,
    ChainReward,
    arithmetic,
    chains,
    compose,
    final_answers,
    horizon,
    replaceable,
)

LINK = re.compile(r"\[variable (\d+)\] = \[answer (\d+)\] ([+-]) (\d+)\. ")


def solve(problems: list[str]) -> list[int]:
    """A solver that knows sums and nothing of how chains are made."""
    answers: list[int] = []
    for text in problems:
        text = text.split(": ", 1)[1]
        if link := LINK.match(text):
            value = answers[int(link[2]) - 1] + int(link[3] + link[4])
            text = text[link.end() :].replace(f"[variable {link[1]}]", str(value))
        answers.append(eval(text.removeprefix("What is ").rstrip("?")))
    return answers


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 8), st.integers(0, 10**6), st.integers(2, 5))
def test_solving_in_order_gives_the_original_answers(k, seed, terms):
    problems = list(arithmetic(k, seed=seed, terms=terms))
    task = compose(problems, seed=seed)
    assert solve(task.payload["problems"]) == task.reference["answers"]
    assert task.reference["answers"] == [p.reference["answer"] for p in problems]


def test_the_difference_is_written_with_its_sign():
    first = [Task("a", "What is 3 + 4?", reference={"answer": 7})]
    second = Task("b", "Add 12.", reference={"answer": 1})
    assert "[variable 2] = [answer 1] + 5. Add [variable 2]." in compose([*first, second]).prompt
    first[0].reference["answer"] = 20
    assert "[variable 2] = [answer 1] - 8. " in compose([*first, second]).prompt


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("There are 12 cats and 7 dogs.", ["12", "7"]),
        ("x^2 + 3x, \\frac{1}{2}, f(4), 2.5 and 1,000", ["4"]),
        ("a_1 = 3/4 or 10/2", []),
        ("-5 and 6!", ["6"]),
    ],
)
def test_only_integers_that_stand_alone_are_replaced(text, found):
    assert [text[a:b] for a, b in replaceable(text)] == found


def test_what_cannot_be_chained_is_refused():
    good = Task("a", "What is 1 + 1?", reference={"answer": 2})
    with pytest.raises(ConfigError, match="is not an integer"):
        compose([good, Task("b", "What is 5?", reference={"answer": "about five"})])
    with pytest.raises(ConfigError, match="can be replaced"):
        compose([good, Task("b", "How many?", reference={"answer": 5})])


@pytest.mark.parametrize(
    ("right", "values"),
    [([1, 1, 0], (0, 0, 2 / 3)), ([0, 1, 1], (0, 1, 2 / 3)), ([1, 1, 1], (1,) * 3)],
)
async def test_the_three_rewards(right, values):
    (task,) = chains(list(arithmetic(3)), 1, horizon=3)
    gold = task.reference["answers"]
    given_ = [g if ok else g + 1 for g, ok in zip(gold, right, strict=True)]
    text = "".join(f"Problem {i}: \\boxed{{{a}}}\n" for i, a in enumerate(given_, 1))
    episode = await play(ChainEnvironment(), task, f"\\boxed{{99}} so\n{text}")
    for mode, value in zip(("all", "last", "fraction"), values, strict=True):
        assert (await ChainReward(mode).score(episode)).value == pytest.approx(value)


async def test_too_few_answers_are_worth_nothing():
    (task,) = chains(list(arithmetic(3)), 1, horizon=3)
    a, b, _ = task.reference["answers"]
    episode = await play(ChainEnvironment(), task, f"\\boxed{{{a}}} \\boxed{{{b}}}")
    assert episode.outcome["right"] == [True, True, False]
    assert (await ChainReward("fraction").score(episode)).value == 0
    assert final_answers("[variable 2] \\boxed{[variable 2]}") == ["[variable 2]"]


async def test_stepwise_shows_one_problem_at_a_time():
    (task,) = chains(list(arithmetic(3)), 1, horizon=3, stepwise=True)
    assert "Problem 2" not in task.prompt
    said = [f"\\boxed{{{a}}}" for a in task.reference["answers"]]
    episode = await play(ChainEnvironment(), task, *said)
    shown = [turn.observations[0].content for turn in episode.turns[:2]]
    assert [text.split(":")[0] for text in shown] == ["Problem 2", "Problem 3"]
    assert (await ChainReward().score(episode)).value == 1


async def test_the_expected_accuracy_is_the_product(monkeypatch):
    (task,) = chains(list(arithmetic(2)), 1, horizon=2)
    a, b = task.reference["answers"]
    texts = [
        f"\\boxed{{{x}}} \\boxed{{{y}}}" for x, y in [(a, b), (a, b + 1), (a + 1, b + 1), (a, b)]
    ]
    episodes = [await play(ChainEnvironment(), task, text) for text in texts]
    found = horizon(episodes)
    assert found.by_position == [0.75, 0.5]
    assert (found.all_right, found.expected) == (0.5, 0.375)
    assert horizon(episodes, alone=[0.9, 0.8]).gap == pytest.approx(0.22)
