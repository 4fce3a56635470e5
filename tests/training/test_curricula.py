"""Samplers that look at how the policy fares: what they draw, and that they go on to the bit."""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentrl.core import ConfigError, Episode, Group, Score, Status, Task, derive_seed
from agentrl.training.config.curriculum import (
    BucketsConfig,
    HorizonConfig,
    PairsConfig,
    SelfPlayConfig,
    TrapoConfig,
)
from agentrl.training.config.sections import StageConfig, TrainConfig
from agentrl.training.curricula import (
    BucketSampler,
    HorizonSampler,
    PairSampler,
    SelectingSampler,
)
from agentrl.training.sampler import Sampler, TaskSampler
from agentrl.training.self_play import SelfPlaySampler

TASKS = [
    Task(f"t{i}", f"What is {i + 2} + {i + 3}?", reference={"answer": 2 * i + 5}) for i in range(12)
]
UNLABELLED = [
    Task(t.id, t.prompt, metadata={"unlabelled": True} if n % 3 else {})
    for n, t in enumerate(TASKS)
]
SETS = [Task(f"s{i}", "", payload={"documents": [f"{i}.{n}" for n in range(20)]}) for i in range(6)]
PER_STEP = 4


def make(kind: str) -> Sampler:
    shuffled = TaskSampler(TASKS, PER_STEP, seed=5)
    made: dict[str, Callable[[], Sampler]] = {
        "shuffle": lambda: shuffled,
        "buckets": lambda: BucketSampler(shuffled, TASKS, 5, BucketsConfig()),
        "pairs": lambda: PairSampler(shuffled, TASKS, 5, PairsConfig()),
        "trapo": lambda: SelectingSampler(
            TaskSampler(UNLABELLED, PER_STEP, seed=5), UNLABELLED, TrapoConfig(warmup=2)
        ),
        "horizon": lambda: HorizonSampler(TASKS, PER_STEP, 5, HorizonConfig(window=2)),
        "self_play": lambda: SelfPlaySampler(TaskSampler(SETS, PER_STEP, 5), 5, SelfPlayConfig()),
    }
    return made[kind]()


KINDS = ("shuffle", "buckets", "pairs", "trapo", "horizon", "self_play")


def played(task: Task, rewards: list[float]) -> Group:
    episodes = [
        Episode(
            task,
            f"{task.id}-{n}",
            status=Status.COMPLETED,
            outcome={"answer": str(r), "resolved": r > 0.5},
            scores={"reward": Score(r)},
        )
        for n, r in enumerate(rewards)
    ]
    return Group((task.id,), episodes)


def step(sampler: Sampler, number: int) -> list[str]:
    """One step in which every task has its own chance, and questions are asked and answered."""
    tasks = sampler.batch(number)
    groups = [played(t, _luck(t.id, number)) for t in tasks]
    for task in tasks:
        if task.metadata.get("role") == "asker":
            meta = {"role": "answerer", "set": task.metadata["set"], "derived": "spell"}
            meta["shown"] = task.metadata["shown"]
            answer = Task(f"{task.id}/a", "", payload={"question": f"q{number}"})
            answer.reference, answer.metadata = {"answer": "x"}, meta
            groups.append(played(answer, _luck(task.id, number)))
    sampler.observe(number, groups)
    return [json.dumps([t.id, t.prompt, t.metadata], sort_keys=True) for t in tasks]


def _luck(task: str, number: int) -> list[float]:
    hard = derive_seed(1, task) % 10
    return [float(derive_seed(2, task, number, n) % 10 > hard) for n in range(4)]


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=8)
@given(at=st.integers(0, 11))
def test_a_resumed_sampler_goes_on_as_if_nothing_had_happened(kind: str, at: int) -> None:
    whole = make(kind)
    expected = [step(whole, n) for n in range(12)]
    first = make(kind)
    for n in range(at):
        step(first, n)
    first.batch(at)  # of the step that was killed
    state = json.loads(json.dumps(first.state_dict()))
    second = make(kind)
    second.load_state_dict(copy.deepcopy(state))
    assert [step(second, n) for n in range(at, 12)] == expected[at:]


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_has_different_tasks_and_leaves_the_samplers_own_alone(kind: str) -> None:
    sampler = make(kind)
    before = [copy.deepcopy(t.metadata) for t in (*TASKS, *UNLABELLED, *SETS)]
    for n in range(12):
        ids = [task.id for task in sampler.batch(n)]
        assert len(set(ids)) == len(ids) == PER_STEP
        more = [task.id for task in sampler.others(n, 0, set(ids), 2)]
        assert len({*ids, *more}) == PER_STEP + 2
        step(sampler, n)
    assert before == [t.metadata for t in (*TASKS, *UNLABELLED, *SETS)]


def test_buckets_are_drawn_from_by_their_weights() -> None:
    config = BucketsConfig(edges=[0.5], weights=[1.0, 3.0], unseen=0.0)
    sampler = BucketSampler(TaskSampler(TASKS, 1, 0), TASKS, 0, config)
    sampler.observe(0, [played(t, [float(n % 2)]) for n, t in enumerate(TASKS)])
    drawn = Counter(int(sampler.batch(n)[0].id[1:]) % 2 for n in range(400))
    assert 0.68 < drawn[1] / 400 < 0.82
    with pytest.raises(ValueError, match="need 2 weights"):
        BucketsConfig(edges=[0.5], weights=[1.0])


def test_pairs_are_hard_and_easy_and_every_tenth_step_probes() -> None:
    sampler = make("pairs")
    rates = [0.0, 0.25, 0.5, 0.75, 1.0, 0.25, 0.75, 0.0, 1.0, 0.5, 0.25, 0.75]
    groups = [
        played(t, [1.0] * int(4 * r) + [0.0] * (4 - int(4 * r)))
        for t, r in zip(TASKS, rates, strict=True)
    ]
    sampler.observe(0, groups)
    for n in range(1, 25):
        roles = Counter(t.metadata.get("role") for t in sampler.batch(n))
        probes = (n + 1) % 10 == 0
        assert roles == ({None: 4} if probes else {"hard": 2, "easy": 2})
        for task in sampler.batch(n):
            rate = rates[int(task.id[1:])]
            assert task.metadata.get("role") != "hard" or rate == 0.25
            assert task.metadata.get("role") != "easy" or rate == 0.75


def test_unlabelled_tasks_count_once_they_develop_like_labelled_ones() -> None:
    sampler = make("trapo")
    assert isinstance(sampler, SelectingSampler)
    assert all(t.metadata["unselected"] == bool(t.metadata.get("unlabelled"))
               for t in sampler.batch(0))  # fmt: skip
    for n in range(9):  # three epochs: labelled ones and t1 rise, the other unlabelled ones fall
        rise = [1.0] * (n // 3 + 1) + [0.0] * (3 - n // 3)
        groups = []
        for task in sampler.batch(n):
            number = int(task.id[1:])
            votes = [float(v) for v in (rise if number % 3 == 0 or number == 1 else rise[::-1])]
            if task.metadata.get("unlabelled"):
                same = n // 3 + 2 if number == 1 else 4 - n // 3
                votes = [7.0] * same + [float(v) for v in range(4 - same)]
            groups.append(played(task, votes))
        sampler.observe(n, groups)
    assert sampler.chosen == {"t1"}
    with pytest.raises(ConfigError, match="have none"):
        SelectingSampler(TaskSampler(TASKS, 2, 0), TASKS, TrapoConfig())


def test_chains_grow_when_they_are_mastered() -> None:
    sampler = make("horizon")
    lengths = []
    for n in range(9):
        tasks = sampler.batch(n)
        lengths.append({len(t.reference["answers"]) for t in tasks})
        won = 0.0 if n in (2, 3) else 1.0
        sampler.observe(n, [played(t, [won, won]) for t in tasks])
    assert lengths == [{1}, {1}, {2}, {2}, {2}, {2}, {4}, {4}, {8}]
    with pytest.raises(ConfigError, match="cannot make a chain of 8"):
        HorizonSampler(TASKS[:3], 2, 0, HorizonConfig())


def test_the_next_asker_sees_what_was_solved_and_new_documents() -> None:
    config = SelfPlayConfig(history=2, fresh=3)
    sampler = SelfPlaySampler(TaskSampler(SETS[:1], 1, 0), 0, config)
    shown: list[list[int]] = []
    for n in range(4):
        (task,) = sampler.batch(n)
        shown.append(task.metadata["shown"])
        assert ("Ask something harder" in task.prompt) == (n > 0)
        step_of: dict[str, Any] = {"role": "answerer", "set": "s0", "shown": shown[-1]}
        solved = Task(f"a{n}", "", payload={"question": f"q{n}"}, reference={"answer": "x"})
        never = Task(f"b{n}", "", payload={"question": f"w{n}"}, reference={"answer": "x"})
        solved.metadata = never.metadata = step_of
        sampler.observe(n, [played(solved, [1.0, 0.0]), played(never, [0.0, 0.0])])
    assert [len(s) for s in shown[:3]] == [3, 6, 9]
    assert set(shown[1]) > set(shown[0])
    (task,) = sampler.batch(4)
    assert "q3" in task.prompt
    assert "q2" in task.prompt
    assert "q1" not in task.prompt
    assert "w3" not in task.prompt
    assert task.payload["documents"] == SETS[0].payload["documents"]


def test_group_sizes_grow_by_stages() -> None:
    stages = [StageConfig(step=3, group_size=16), StageConfig(step=6, group_size=32)]
    train = TrainConfig(stages=stages)
    assert [train.group_size(n, 8) for n in range(1, 8)] == [8, 8, 16, 16, 16, 32, 32]
