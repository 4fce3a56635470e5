"""SPELL's roles: what asking, answering and verifying are worth, and what is made of them."""

from __future__ import annotations

import random

import numpy as np
import pytest

from agentrl.core import Episode, Group, Status, Task, Turn
from agentrl.environments.roles import RolesEnvironment, same_answer
from agentrl.rewards import build_plan
from agentrl.rewards.data.spell import Spell
from agentrl.rewards.group.spell import SpellRoles, SpellRule, asking, majority, voting

ASK = Task("ask", "", payload={"role": "asker", "documents": ["a", "b"]})
ASK.metadata = {"role": "asker", "set": "s", "shown": [0]}


async def said(task: Task, *texts: str) -> Group:
    episodes = []
    for n, text in enumerate(texts):
        environment = RolesEnvironment()
        environment.reset(task)
        turn = Turn(np.zeros(0, np.int32), np.zeros(0, np.float32), text)
        episode = Episode(task, f"{task.id}-{n}", status=Status.COMPLETED, turns=[turn])
        episode.outcome = await environment.finish(episode)
        episode.scores["reward"] = await SpellRule().score(episode)
        episodes.append(episode)
    return Group((task.id,), episodes)


async def played(votes: dict[str, list[str]], answers: list[str], blind: str = "?") -> list[Group]:
    """A question with those answers, each verified so, and one that nobody can read."""
    asked = await said(ASK, 'so {"question": "6*7", "answer": 42}', "what?")
    groups = [asked]
    made = Spell().derive(asked.judged, random.Random(0))
    assert [t.metadata["role"] for t in made] == ["answerer", "blind"]
    groups.append(await said(made[0], *answers))
    groups.append(await said(made[1], blind, blind))
    for task in Spell().derive(groups[1].judged, random.Random(0)):
        groups.append(await said(task, *votes[task.metadata["given"]]))
    return groups


async def test_the_three_roles_judge_each_other() -> None:
    yes, no = "I think YES", "NO."
    votes = {"42": [yes, yes, yes, no], "forty-two": [yes, yes, "hm", no], "41": [no] * 4}
    groups = await played(votes, ["\\boxed{42}", "forty-two", "41", "41"])
    scores = await SpellRoles().compare_all(groups)
    asker, malformed = scores["0"]
    assert asker.value == pytest.approx(1.0)
    assert malformed.value == -1.0
    # The rule does not know "forty-two"; two of three readable verifiers do.
    assert [s.value for s in scores["1"]] == [1.0, 1.0, 0.0, 0.0]
    assert all(s.abstained for s in scores["2"])
    assert [s.value for s in scores["3"]] == [1.0, 1.0, 1.0, 0.0]
    assert all(s.abstained for s in scores["4"])  # the majority is not what the rule says
    assert all(s.abstained for s in scores["5"])  # all agree: nothing to learn


async def test_a_question_that_needs_no_documents_is_not_worth_asking() -> None:
    groups = await played({"42": ["YES"] * 4, "1": ["NO"] * 4}, ["42", "1"], blind="42")
    scores = await SpellRoles().compare_all(groups)
    assert scores["0"][0].value == -0.5


def test_numbers_of_the_source() -> None:
    found = [asking(p) for p in (0.5, 0.25, 0.375, 0.125, 0.0, 1.0)]
    assert found == pytest.approx([1, 0.3247, 0.7548, 0.0796, 0, 0], abs=1e-4)
    assert voting([1, 1, 1, 0, 1, -1, 1, 1]) == [1, 1, 1, 0, 1, -1, 1, 1]
    assert majority([-1, -1]) == (None, 0.0)


@pytest.mark.parametrize(
    ("text", "formed"),
    [
        ('{"question": "q", "answer": "a"}', True),
        ('{"question": "", "answer": "a"}', False),
        ('{"question": "q"}', False),
        ("[" * 5000, False),
        ("{" * 5000 + "}" * 5000, False),
        ('{"a": 1} {"question": "q", "answer": 0}', True),
        ("", False),
    ],
)
def test_what_is_a_question(text: str, formed: bool) -> None:
    environment = RolesEnvironment()
    environment.reset(ASK)
    assert environment.grade(text)["formed"] is formed


def test_answers_are_compared_as_people_would() -> None:
    assert same_answer(" New  York. ", "new york")
    assert same_answer("1000", "1001")
    assert not same_answer("1000", "1003")
    assert not same_answer("", "x")


def test_a_run_file_names_them() -> None:
    plan = build_plan(
        {
            "kind": "spell_rule",
            "group": [{"kind": "spell_roles"}],
            "derive": [{"kind": "spell", "count": 4}],
        }
    )
    assert [r.name for r in (plan.reward, *plan.group, *plan.derive)] == [
        "spell_rule", "spell_roles", "spell",
    ]  # fmt: skip
