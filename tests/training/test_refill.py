"""DAPO's refill: what is sampled again, what the learner is given, and that it repeats exactly."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentrl.core import Episode, Group, Score, Status, Task
from agentrl.learner import LearnerSettings
from agentrl.learner.credit import has_signal
from agentrl.training.refill import Batch, collect_batch
from agentrl.training.sampler import TaskSampler

TASKS = [Task(id=f"t{i}", prompt="") for i in range(12)]


def played(task: Task, rewards: Sequence[float], status: Status = Status.COMPLETED) -> Group:
    episodes = [
        Episode(task, id=f"{task.id}-{i}", status=status, scores={"reward": Score(r)})
        for i, r in enumerate(rewards)
    ]
    return Group((task.id,), episodes)


def run(
    flat: Callable[[str], bool], refill: int = 3, per_step: int = 4
) -> tuple[Batch, list[list[str]]]:
    asked: list[list[str]] = []

    async def collect(tasks: Sequence[Task], turn: int) -> list[Group]:
        assert turn == len(asked)
        asked.append([t.id for t in tasks])
        return [played(t, [0.0, 0.0] if flat(t.id) else [0.0, 1.0]) for t in tasks]

    sampler = TaskSampler(TASKS, per_step, seed=1)
    learner = LearnerSettings(algorithm="dapo", refill=refill)
    return asyncio.run(collect_batch(collect, sampler, 0, learner)), asked


@settings(deadline=None, max_examples=50)
@given(st.sets(st.sampled_from([t.id for t in TASKS])), st.integers(0, 4), st.integers(1, 6))
def test_as_many_teaching_groups_as_there_can_be(
    flat: set[str], refill: int, per_step: int
) -> None:
    batch, asked = run(flat.__contains__, refill, per_step)
    names = [name for part in asked for name in part]
    assert len(set(names)) == len(names) == len(batch.sampled)
    assert len(batch.teaching) <= per_step
    assert len(asked) == batch.rounds + 1 <= refill + 1
    if refill:
        assert all(has_signal(batch.teaching, LearnerSettings()))
        short = len(batch.teaching) < per_step
        assert not short or batch.rounds == refill or len(names) == len(TASKS)
    else:
        assert len(batch.teaching) == per_step


def test_a_resumed_step_draws_the_same_tasks() -> None:
    flat = {"t0", "t3", "t4", "t7"}.__contains__
    assert run(flat)[1] == run(flat)[1]


def test_without_refill_flat_groups_stay() -> None:
    batch, asked = run(lambda _: True, refill=0)
    assert len(batch.teaching) == 4
    assert len(asked) == 1
    assert batch.metrics() == {"groups_sampled": 4, "groups_teaching": 4, "refill_rounds": 0}


@pytest.mark.parametrize(
    ("given_settings", "rewards", "expected"),
    [
        ({}, [0.3, 0.3], False),
        ({}, [0.3, 0.2], True),
        ({}, [1.0], False),
        ({"algorithm": "ppo"}, [0.3, 0.3], True),
        ({"algorithm": "pacs"}, [1.0, 1.0], False),
        ({"algorithm": "pacs"}, [1.0, 0.0], True),
        ({"algorithm": "nsr"}, [0.0, 0.0], True),
        ({"returns": [{"kind": "replace", "shift": 1.0}]}, [0.0, 1.0], False),
    ],
)
def test_what_counts_as_a_signal(
    given_settings: dict[str, object], rewards: list[float], expected: bool
) -> None:
    groups = [played(TASKS[0], rewards), played(TASKS[1], [1.0, 1.0], Status.INFRA_ERROR)]
    s = LearnerSettings(**given_settings)
    assert has_signal(groups, s) == [expected, False]
