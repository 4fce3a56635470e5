"""Failure replay: who waits, who is tried, what stored episodes may do; it outlives kills."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loop_kit import agentrl, assert_same, make_world

from agentrl.core import ConfigError, Episode, Group, Origin, Score, Segment, Status, Task, Turn
from agentrl.learner import LearnerSettings
from agentrl.learner.losses import policy_loss, policy_ratio
from agentrl.store import FailureEvent, FailureLog, RunStore
from agentrl.store.failures import content_of
from agentrl.training.config import load_config
from agentrl.training.config.replay import ReplayConfig, StoredConfig
from agentrl.training.failures import (
    FailureBuffer,
    Waiting,
    fold,
    learner_settings,
    replayed,
    stored_episodes,
)
from agentrl.training.sampler import TaskSampler
from agentrl.training.supply import Supply

TASKS = [Task(f"t{i}", f"do {i}") for i in range(8)]


def played(task: Task, rewards: Sequence[float], version: int = 0, name: str = "e") -> Group:
    return Group(
        (task.id,), [episode(task, r, version, f"{name}{i}") for i, r in enumerate(rewards)]
    )


def episode(task: Task, reward: float, version: int, name: str) -> Episode:
    n = 3
    segment = Segment(
        np.arange(n, dtype=np.int32),
        np.array([Origin.PROMPT, Origin.SAMPLED, Origin.SAMPLED], np.uint8),
        np.array([0.0, -1.0, -1.0], np.float32),
        np.zeros(n, np.int16),
        np.array([-1, version, version], np.int32),
    )
    turn = Turn(np.arange(2, dtype=np.int32), -np.ones(2, np.float32), "x")
    return Episode(
        task,
        id=f"{task.id}-{name}-{version}",
        status=Status.COMPLETED,
        turns=[turn],
        segments=[segment],
        scores={"reward": Score(reward)},
    )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RunStore]:
    with RunStore.create(tmp_path / "run", {}) as store:
        yield store


def event(key: int, kind: str, task: str, solved: float, reward: float = 0.0) -> FailureEvent:
    return FailureEvent(key, "r", key, kind, task, f"content of {task}", solved, reward, ())  # type: ignore[arg-type]


def test_the_papers_own_example() -> None:
    waiting: dict[str, Waiting] = {}
    buffer = ReplayConfig()
    for key, (task, mean) in enumerate([("a", 0.0), ("b", 0.25), ("c", 0.0)]):
        if mean <= buffer.insert:
            fold(waiting, event(key, "failed", task, mean), buffer)
    assert [w.task for w in waiting.values()] == ["a", "c"]
    fold(waiting, event(3, "tried", "a", 0.125), buffer)
    assert [w.task for w in waiting.values()] == ["c"]


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["failed", "tried"]),
            st.sampled_from("abcdefg"),
            st.sampled_from([0.0, 0.0, 0.2, 1.0]),
        ),
        max_size=40,
    ),
    st.integers(1, 5),
    st.integers(1, 3),
)
def test_who_waits_follows_from_the_log(
    lines: list[tuple[str, str, float]], capacity: int, tries: int
) -> None:
    config = ReplayConfig(capacity=capacity, max_tries=tries)
    waiting: dict[str, Waiting] = {}
    for key, (kind, task, rate) in enumerate(lines):
        fold(waiting, event(key, kind, task, rate), config)
        assert len(waiting) <= capacity
        assert all(w.tries < tries for w in waiting.values())
        since = [w.since for w in waiting.values()]
        assert since == sorted(since)
        if kind == "failed":
            assert f"content of {task}" in waiting
        elif rate > 0:
            assert f"content of {task}" not in waiting


def test_tasks_that_say_the_same_wait_once(store: RunStore) -> None:
    buffer = FailureBuffer(ReplayConfig(), store.failure_log())
    twin = Task("other id", "do 0", metadata={"split": "b"})
    assert content_of(twin) == content_of(TASKS[0]) != content_of(TASKS[1])
    for step, task in enumerate([TASKS[0], twin, TASKS[0]]):
        buffer.waiting()
        buffer.record(step, played(task, [0, 0]), [False, False])
    (one,) = buffer.waiting()
    assert (one.task, one.since) == ("t0", 1)


@pytest.mark.parametrize(
    ("order", "first"),
    [("oldest", "t0"), ("newest", "t3"), ("fewest", "t3"), ("nearest", "t2")],
)
def test_the_order_says_who_is_tried_first(store: RunStore, order: str, first: str) -> None:
    config = ReplayConfig(order=order, sharpness=50.0)  # type: ignore[arg-type]
    buffer = FailureBuffer(config, store.failure_log())
    for n, reward in enumerate([0.1, 0.2, 0.9, 0.3]):
        buffer.record(n, played(TASKS[n], [reward]), [False])
    buffer.waiting()
    for n in range(3):
        buffer.record(5, played(TASKS[n], [0.9 if n == 2 else 0.1]), [False])
    assert buffer.draw(1, seed=0)[0].task == first
    even = FailureBuffer(ReplayConfig(), store.failure_log())
    drawn = {even.draw(1, seed=s)[0].task for s in range(40)}
    assert drawn == {"t0", "t1", "t2", "t3"}
    assert [w.task for w in even.draw(9, 1, without={"t1"})] != []
    assert "t1" not in {w.task for w in even.draw(9, 1, without={"t1"})}


@pytest.mark.parametrize(("step", "expected"), [(1, 0), (4, 0), (5, 2), (10, 2), (11, 0)])
def test_the_period_and_the_share(step: int, expected: int) -> None:
    assert replayed(step, 8, ReplayConfig()) == expected
    assert replayed(step, 2, ReplayConfig()) == (1 if expected else 0)
    assert replayed(step, 8, None) == 0


def supply(config: ReplayConfig | None, per_step: int = 4) -> Supply:
    return Supply(TaskSampler(TASKS, per_step, seed=3), TASKS, config, seed=3)


def test_a_replayed_task_displaces_one_that_comes_next(store: RunStore) -> None:
    every = supply(ReplayConfig(every=2, share=0.5))
    seen: list[list[str]] = []
    with every.opened(store, -1):
        for step in range(4):
            tasks = every.batch(step)
            assert [t.id for t in tasks] == [t.id for t in every.batch(step)]
            seen.append([t.id for t in tasks])
            assert len(set(seen[-1])) == 4
            failing = tasks if step == 0 else tasks[2:]
            every.observe(step, [played(t, [0.0 if t in failing else 1.0]) for t in tasks])
    plain = supply(None)
    fresh = [t.id for t in plain.batch(0)]
    assert seen[0] == fresh
    assert set(seen[1][:2]) <= set(seen[0])
    # The two that gave way to the replay open the next step.
    plain.observe(0, [])
    rest = [t.id for t in plain.batch(1) if t.id not in seen[1][:2]]
    assert seen[1][2:] == rest[:2]
    assert set(rest[2:]) <= set(seen[2])


def test_what_a_killed_run_wrote_beyond_its_checkpoint_is_forgotten(store: RunStore) -> None:
    def lines(until: int, first: int = 0) -> list[str]:
        again = supply(ReplayConfig(every=1, share=0.5))
        with again.opened(store, first or -1):
            if first:
                again.load_state_dict(kept)
            for step in range(first, until):
                tasks = again.batch(step)
                again.observe(step, [played(t, [float(t.id in "t2t5")]) for t in tasks])
                if step == 2:
                    kept.update(again.state_dict())
        log = store.failure_log()
        return [f"{e.step} {e.event} {e.task}" for e in log.events()]

    kept: dict[str, object] = {}
    whole = lines(6)
    assert lines(6, first=3) == whole


def test_runs_share_their_failures_by_url(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/shared/failures.db"
    alien = Task("alien", "another run's", environment="")
    hostile = Task("hostile", "of another world", environment="elsewhere")
    first, second = FailureLog.open(url, "first"), FailureLog.open(url, "second")
    mine = FailureBuffer(ReplayConfig(url=url), first)
    mine.record(1, played(alien, [0, 0]), [False, False])
    mine.record(2, played(hostile, [0, 0]), [False, False])
    assert [w.run for w in FailureBuffer(ReplayConfig(), second).waiting()] == ["first", "first"]
    with RunStore.create(tmp_path / "run", {}) as store:
        other = supply(ReplayConfig(every=1, share=0.5, url=url))
        with other.opened(store, -1):
            tasks = other.batch(0)
            assert [t.prompt for t in tasks].count("another run's") == 1
            assert "hostile" not in [t.id for t in tasks]
            other.observe(0, [played(t, [1.0]) for t in tasks])
    assert [w.task for w in mine.waiting()] == ["hostile"]
    # A run that goes back takes its own lines with it, and nobody else's.
    second.rewind(0)
    first.rewind(1)
    assert [w.task for w in FailureBuffer(ReplayConfig(), first).waiting()] == []
    first.close()
    second.close()


@pytest.mark.parametrize("url", ["mysql://db/failures", "http://host/x", "file://host/x"])
def test_a_place_that_cannot_be_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="not a place"):
        FailureLog.open(url, "r")


def test_stored_episodes_are_young_judged_and_the_best_first(store: RunStore) -> None:
    task = TASKS[0]
    old = [episode(task, 1.0, 1, "old"), episode(task, 0.0, 7, "fail"), episode(task, 1.0, 8, "ok")]
    broken = episode(task, 1.0, 9, "broken")
    broken.status = Status.INFRA_ERROR
    imitated = episode(task, 1.0, -1, "script")
    store.add_episodes(1, "train", [*old, broken, imitated])
    store.add_episodes(1, "eval", [episode(task, 1.0, 9, "eval")])
    config = StoredConfig(count=2, max_age=4)
    found = stored_episodes(store, "t0", 10, config, {"nothing"})
    assert [(e.id, e.source) for e in found] == [("t0-ok-8", "replay"), ("t0-fail-7", "replay")]
    assert [e.id for e in stored_episodes(store, "t0", 10, config, {"t0-ok-8"})] == ["t0-fail-7"]
    assert stored_episodes(store, "t0", 13, config, ()) == []


def test_importance_weights_of_stored_episodes_are_truncated_and_keep_their_gradient() -> None:
    replay = ReplayConfig(stored=StoredConfig(cap=2.0))
    settings = learner_settings(LearnerSettings(), replay)
    assert settings.off_policy is not None
    for behave, weight in ((-1.0, 1.0), (-1.5, np.exp(0.5)), (-9.0, 2.0), (1.0, np.exp(-2.0))):
        logp = torch.tensor([-1.0], requires_grad=True)
        ratio = policy_ratio(
            logp, torch.tensor([behave]), torch.zeros(1, dtype=torch.long), "token"
        )
        policy_loss(ratio, logp, torch.tensor([-3.0]), settings.off_policy).sum().backward()
        assert logp.grad is not None
        assert float(logp.grad) == pytest.approx(3.0 * weight, rel=1e-5)
    given_by_user = LearnerSettings(off_policy={"kind": "shape"})
    assert learner_settings(given_by_user, replay).off_policy == given_by_user.off_policy
    assert learner_settings(LearnerSettings(), ReplayConfig()).off_policy is None


def test_a_run_file_that_would_not_truncate_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = make_world(tmp_path) / "run.yaml"
    monkeypatch.syspath_prepend(tmp_path)
    load_config(file, ["replay.stored.count=1"])
    with pytest.raises(ConfigError, match=r"replay.stored .*needs learner.ratio.old"):
        load_config(file, ["replay.stored.count=1", "learner.ratio.old=recompute"])


REPLAY = ("replay.every=1", "replay.share=0.5", "replay.stored.max_age=9", "learner.group_size=2")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    world = make_world(tmp_path_factory.mktemp("whole"))
    done = agentrl(world, "train", "run.yaml", *REPLAY)
    assert done.returncode == 0, done.stderr
    return world


def test_a_run_tries_its_failures_again_and_says_so(whole: Path) -> None:
    with RunStore.open(whole / "run", read_only=True) as store:
        events = store.failure_log(read_only=True).events()
        tried = {(e.step, e.task) for e in events if e.event == "tried"}
        failed = {(e.step, e.task) for e in events if e.event == "failed"}
        metrics = store.metrics("train/replay/")
        sources = {s.source for s in store.summaries()}
    assert failed
    assert tried
    for step, task in tried:
        assert any(before < step and task == same for before, same in failed)
    assert set(metrics) == {"train/replay/waiting", "train/replay/tried"}
    assert sources == {"policy"}  # what is learned from twice is stored once


@pytest.mark.parametrize("fault", ["learned:4:kill", "stored:5:kill"])
def test_a_killed_run_goes_on_to_the_bit(whole: Path, tmp_path: Path, fault: str) -> None:
    world = make_world(tmp_path / "world")
    killed = agentrl(world, "train", "run.yaml", *REPLAY, fault=fault)
    assert killed.returncode == -9
    resumed = agentrl(world, "train", "run.yaml", "--resume", *REPLAY)
    assert resumed.returncode == 0, resumed.stderr
    assert_same(world / "run", whole / "run")
    with (
        RunStore.open(world / "run", read_only=True) as mine,
        RunStore.open(whole / "run", read_only=True) as theirs,
    ):
        found, expected = (
            [_plain(e) for e in s.failure_log(read_only=True).events()] for s in (mine, theirs)
        )
    assert json.dumps(found) == json.dumps(expected)


def _plain(event: FailureEvent) -> list[object]:
    return [event.step, event.event, event.task, event.solved, event.reward, event.episodes]
