"""The warm start: what is imitated, what is not, and what training goes on from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from loop_kit import make_world

from agentrl.cli import main
from agentrl.core import (
    ConfigError,
    Episode,
    InfraError,
    Message,
    Origin,
    Score,
    Segment,
    Status,
    Task,
    Turn,
)
from agentrl.store import RunStore
from agentrl.training.build import make_policy
from agentrl.training.config import RunConfig, load_config
from agentrl.training.progress import Progress
from agentrl.training.warmstart import gather, warmstart

RECORDED = "warmstart={kind: recorded, run: %s, epochs: 6, batch_size: 2, min_reward: %s}"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_world(tmp_path_factory.mktemp("warmstart"))


@pytest.fixture
def world(shared: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.chdir(shared)
    monkeypatch.syspath_prepend(shared)
    return tmp_path


def config(world: Path, *overrides: str) -> RunConfig:
    return load_config("run.yaml", [f"run.dir={world}/run", *overrides])


def losses(run: Path) -> list[float]:
    with RunStore.open(run, read_only=True) as store:
        return [value for _, value in store.metrics()["imitation/loss"]]


def test_a_script_is_recorded_and_imitated(world: Path) -> None:
    result = warmstart(config(world))
    with RunStore.open(world / "run", read_only=True) as store:
        recorded = store.episodes(step=0, split="warmstart")
        assert store.checkpoints.steps() == [0]
        saved = store.load_checkpoint().tensors
    assert [[t.text.split()[0] for t in e.turns] for e in recorded] == [["heads", "tails"]] * 5
    assert {e.source for e in recorded} == {"script"}
    assert result.episodes == 5
    assert result.tokens == sum(e.trained_tokens for e in recorded)
    found = losses(world / "run")
    assert len(found) == 8, "two batches an epoch, four epochs"
    assert found[-1] < found[0] - 0.1
    fresh = make_policy(config(world)).model.state_dict()
    assert any((fresh[name] != saved[name]).any() for name in fresh)


def test_training_goes_on_from_it_and_keeps_its_curve(
    world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = [f"run.dir={world}/run", "train.steps=1"]
    assert main(["warmstart", "run.yaml", *where]) == 0
    assert "imitated 5 episodes" in capsys.readouterr().out
    curve = losses(world / "run")
    assert main(["train", "run.yaml", *where, "learner.learning_rate=0.0"]) == 0
    assert losses(world / "run") == curve
    with RunStore.open(world / "run", read_only=True) as store:
        assert len(store.episodes(split="warmstart")) == 5
        before, after = (store.load_checkpoint(step).tensors for step in (0, 1))
    assert all((before[name] == after[name]).all() for name in before), "it started elsewhere"

    assert main(["train", "run.yaml", *where]) == 2
    said = capsys.readouterr().err
    assert "this directory already holds a run" in said
    assert "go on with it (--resume), or give another directory with run.dir=..." in said
    assert main(["warmstart", "run.yaml", *where]) == 2
    assert "this directory already holds a run" in capsys.readouterr().err


def test_an_unfinished_warm_start_is_not_trained_on_and_can_be_done_again(
    world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = config(world)
    with RunStore.create(run.run.dir, run.plain()) as store:
        store.add_metrics(9, {"imitation/loss": 3.0})
    assert main(["train", "run.yaml", f"run.dir={world}/run", "--resume"]) == 2
    said = capsys.readouterr().err
    assert "the warm start of this run was not finished" in said
    assert "run `agentrl warmstart` again" in said
    warmstart(config(world, "warmstart.epochs=1"))
    assert len(losses(world / "run")) == 2
    with RunStore.open(world / "run", read_only=True) as store:
        assert store.config["warmstart"]["epochs"] == 1


def recorded(name: str, reward: float | None, said: str) -> Episode:
    """An episode of another model: its ids mean nothing here."""
    foreign = np.arange(7, dtype=np.int32)
    segment = Segment(
        foreign,
        np.full(7, Origin.SAMPLED, np.uint8),
        np.zeros(7, np.float32),
        np.zeros(7, np.int16),
        np.zeros(7, np.int32),
    )
    answer = Message("tool", "the coin lies there", name="look")
    last = Turn(foreign, np.zeros(7, np.float32), "that is it")
    return Episode(
        Task(name, "throw"),
        name,
        status=Status.COMPLETED if reward is not None else Status.INFRA_ERROR,
        prompt=[Message("user", "throw")],
        turns=[Turn(foreign, np.zeros(7, np.float32), said, observations=[answer]), last],
        segments=[segment],
        scores={} if reward is None else {"reward": Score(reward)},
    )


def test_recorded_episodes_are_imitated_in_the_policys_own_tokens(world: Path) -> None:
    with RunStore.create(world / "source", {}) as source:
        worse, broken = recorded("worse", 0.2, "edges"), recorded("broken", None, "x")
        good = [recorded(f"good{i}", 1.0, "tails it is") for i in range(3)]
        source.add_episodes(1, "train", [worse, *good, broken])
        source.add_episodes(1, "eval", [recorded("held out", 1.0, "secret")])
    run = config(world, RECORDED % (world / "source", 0.5))
    policy = make_policy(run)
    with RunStore.create(world / "scratch", {}) as scratch:
        episodes = gather(run, policy, scratch, Progress())
    assert [e.id for e in episodes] == ["good0", "good1", "good2"]
    (segment,) = episodes[0].segments
    sampled = policy.tokenizer.decode(segment.tokens[segment.action_mask].tolist())
    end = policy.tokenizer.decode([policy.tokenizer.end_of_turn])
    assert sampled == f"tails it is{end}that is it{end}"
    told = policy.tokenizer.decode(segment.tokens[segment.origin == Origin.OBSERVATION].tolist())
    assert "the coin lies there" in told
    result = warmstart(run)
    assert result.episodes == 3
    found = losses(world / "run")
    assert found[-1] < found[0] - 0.1


def test_without_anything_to_imitate_it_says_why(world: Path) -> None:
    with RunStore.create(world / "source", {}) as source:
        source.add_episodes(1, "train", [recorded("worse", 0.2, "edges")])
    with pytest.raises(ConfigError, match="there is no episode to imitate"):
        warmstart(config(world, RECORDED % (world / "source", 0.5)))
    with pytest.raises(InfraError) as error:
        warmstart(config(world, "warmstart.script=coin_world:stumbler", f"run.dir={world}/other"))
    assert "all 5 episodes of the script broke, the first by script_failed" in str(error.value)
    assert "the expert has lost its notes" in str(error.value)
    with pytest.raises(ConfigError, match="there is no warmstart section"):
        warmstart(config(world, "warmstart=null", f"run.dir={world}/third"))
