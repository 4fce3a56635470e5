"""The measurement: the same draws each time, honest rates, the run's newest weights."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from loop_kit import make_world, plain

from agentrl.core import Episode, Group, Score, Status, Task
from agentrl.learner import Learner
from agentrl.store import RunStore
from agentrl.training.build import make_policy
from agentrl.training.config import RunConfig, load_config
from agentrl.training.evaluate import evaluate, summarise
from agentrl.training.loop import train
from agentrl.training.state import save_state


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_world(tmp_path_factory.mktemp("evaluate"))


@pytest.fixture
def world(shared: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.chdir(shared)
    return tmp_path


def config(world: Path, *overrides: str) -> RunConfig:
    return load_config("run.yaml", [f"run.dir={world}/run", *overrides])


def texts(episodes: Sequence[Episode]) -> list[list[str]]:
    return [[turn.text for turn in episode.turns] for episode in episodes]


def test_two_measurements_of_the_same_weights_are_the_same(world: Path) -> None:
    first = evaluate(config(world, "eval.samples=2"))
    again = evaluate(config(world, "eval.samples=2", "environment.concurrency=1"))
    assert [plain(e) for e in first.episodes] == [plain(e) for e in again.episodes]
    assert len(first.episodes) == 6
    assert len({e.id for e in first.episodes}) == 6
    other = evaluate(config(world, "eval.samples=2", "eval.seed=5"))
    assert texts(other.episodes) != texts(first.episodes)


def test_the_temperature_of_the_evaluation_is_its_own(world: Path) -> None:
    greedy = texts(evaluate(config(world, "eval.temperature=0", "eval.samples=2")).episodes)
    assert greedy[0] == greedy[1]
    drawn = texts(evaluate(config(world, "eval.samples=2")).episodes)
    assert drawn[0] != drawn[1]


def test_evaluations_inside_a_run_have_that_temperature_too(world: Path) -> None:
    run = config(world, "eval.temperature=0", "eval.samples=2", "train.steps=1")
    before = train(run).before
    assert before is not None
    said = texts(before.episodes)
    assert [said[i] == said[i + 1] for i in (0, 2, 4)] == [True] * 3
    with RunStore.open(run.run.dir, read_only=True) as store:
        drawn = texts(store.episodes(split="train"))
    assert len({json.dumps(text) for text in drawn}) > 2, "training draws at its own temperature"


def test_the_newest_weights_of_the_run_are_measured(world: Path) -> None:
    run = config(world, "eval.temperature=0")
    untouched = texts(evaluate(run).episodes)
    policy = make_policy(run)
    with RunStore.create(run.run.dir, run.plain()) as store:
        for step in (1, 2):
            with torch.no_grad():
                for weight in policy.model.parameters():
                    weight.copy_(torch.randn(weight.shape, generator=torch.manual_seed(step)))
            save_state(store, step, policy, Learner(policy, run.learner), keep=2)
        latest = texts(evaluate(run).episodes)
    assert latest != untouched
    (world / "run/checkpoints/latest").write_text("step-000001")
    assert texts(evaluate(run).episodes) not in (latest, untouched)


def group(task: str, *verdicts: bool | None) -> Group:
    """None: infrastructure broke it."""
    episodes = []
    for verdict in verdicts:
        episode = Episode(Task(task, "p"), status=Status.COMPLETED)
        if verdict is None:
            # What a broken episode happens to hold must not count either.
            episode.status, episode.outcome = Status.INFRA_ERROR, {"resolved": True}
        else:
            episode.outcome = {"resolved": verdict}
        episode.scores = {"reward": Score(1.0)}
        episodes.append(episode)
    return Group((task,), episodes)


def test_pass_at_k_by_hand() -> None:
    found = summarise([group("a", True, False, False), group("b", True, True, False)])
    assert found.by_task == pytest.approx({"a": 1 / 3, "b": 2 / 3})
    # Pairs of three that hold a success: 2 of 3 for a (1 - C(2,2)/C(3,2)), all for b.
    assert found.pass_at_k == pytest.approx({1: 1 / 2, 2: (2 / 3 + 1) / 2, 3: 1.0})
    assert found.rate == pytest.approx(0.5)
    assert found.ci_low == pytest.approx(1 / 3)
    assert found.ci_high == pytest.approx(2 / 3)
    assert found.metrics()["eval/pass@2"] == pytest.approx(5 / 6)


def test_broken_episodes_are_in_no_number() -> None:
    broken = summarise([group("a", True, None, False), group("b", False, None), group("c", None)])
    sound = summarise([group("a", True, False), group("b", False)])
    assert broken.by_task == sound.by_task == {"a": 0.5, "b": 0.0}
    assert (broken.rate, broken.ci_low, broken.ci_high) == (sound.rate, sound.ci_low, sound.ci_high)
    assert broken.pass_at_k == sound.pass_at_k == {1: 0.25}
    assert len(broken.episodes) == 6
