"""The claim of paper 18, trained for real; and that its check can fail."""

from __future__ import annotations

import pytest

from agentrl.core import ToolCall
from agentrl.environments.simulated import SimulatedEnvironment
from agentrl.papers import CheckResult, check
from agentrl.papers.deeptravel import HARD, TOWNS, Found, holds, make_tasks, recorded, verifier
from agentrl.papers.kit.rollouts import converse

pytestmark = pytest.mark.timeout(900)  # wall time, where many share the cores


@pytest.fixture(scope="module")
def checked() -> CheckResult:
    return check("deeptravel", seeds=(0,))


def test_the_hard_tail_is_solved_with_replay_and_not_without(checked):
    assert checked.passed, checked.table()


def test_the_check_fails_where_the_effect_is_not_there(checked):
    rows = {row[1]: row for row in checked.rows}
    start, plain, replay = (
        Found(hard, row[4], row[5], row[6])
        for hard, row in (
            (rows["with"][2], rows["with"]),
            (rows["without"][3], rows["without"]),
            (rows["with"][3], rows["with"]),
        )
    )
    assert holds(start, plain, replay)
    assert not holds(start, plain, plain)
    assert not holds(start, replay, replay)
    assert not holds(start, replay, plain)
    assert not holds(replay, plain, replay)


def test_a_fifth_of_the_towns_is_hard_and_the_land_is_the_seeds():
    tasks = make_tasks(1)
    hard = [t.reference["rubric"] for t in tasks if t.metadata["hard"]]
    assert len(hard) == HARD == len(TOWNS) // 5
    assert set(hard) <= {"T3", "T4"}
    assert [t.reference for t in tasks] == [t.reference for t in make_tasks(1)]
    assert [t.id for t in tasks] != [t.id for t in make_tasks(2)]


async def test_the_verifier_asks_about_turns_only_when_the_plan_holds():
    (task, *_) = make_tasks(0)
    asked = {}
    for train in ("T1", task.reference["rubric"]):
        judge = verifier()
        environment = SimulatedEnvironment(cache=recorded())
        episode = await converse(environment, task, [ToolCall("trains"), train])
        asked[train] = (await judge.score(episode)).value, judge.judge.asked
    assert asked == {"T1": (0.0, 1), task.reference["rubric"]: (1.0, 2)}
