"""Guidance in a whole run: what is stored, counted and learned; evaluation never has any."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from agentrl.core import ConfigError, Origin
from agentrl.store import RunStore
from agentrl.training.config import RunConfig, load_config
from agentrl.training.evaluate import evaluate
from agentrl.training.loop import train

sys.path.append(str(Path(__file__).parents[1] / "training"))
from loop_kit import assert_same, make_world, plain

TEXTS = "{kind: static, texts: [turn it, turn it more, look there]}"
KINDS = {
    "ghpo": ["guidance.kind=ghpo", f"guidance.ladder=[{TEXTS}]"],
    "guide": ["guidance.kind=guide", f"guidance.ladder=[{TEXTS}]"],
    "sage_light": ["guidance.kind=sage_light", f"guidance.ladder=[{TEXTS}]"],
    "agent_rlvr": ["guidance.kind=agent_rlvr", f"guidance.ladder={{tiers: [{TEXTS}], show: all}}"],
    "sage": ["guidance.kind=sage", "guidance.ladder=[{kind: self, answer: text, tokens: 6}]"],
    "sdpo": ["guidance.kind=sdpo"],
    "cure": ["guidance.kind=cure"],
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_world(tmp_path_factory.mktemp("guided"))


@pytest.fixture
def world(shared: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.chdir(shared)
    return tmp_path


def config(world: Path, kind: str, *overrides: str, run: str = "run") -> RunConfig:
    short = ["train.steps=3", "train.checkpoint_every=1", "warmstart=null"]
    return load_config("run.yaml", [f"run.dir={world}/{run}", *short, *KINDS[kind], *overrides])


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_with_guidance(world: Path, kind: str) -> None:
    done = train(config(world, kind))
    with RunStore.open(done.directory, read_only=True) as store:
        metrics = store.metrics("train/")
        guided = list(store.episodes(split="guided"))
        ours = list(store.episodes(split="train"))
        measured = list(store.episodes(split="eval"))
    counted = dict(metrics["train/rollouts"])
    assert counted[done.steps] == len(ours) + len(guided)
    assert sum(n for _, n in metrics["train/guided_rollouts"]) == len(guided)
    for episode in guided:
        hint = any((s.origin == Origin.HINT).any() for s in episode.segments)
        assert hint is (kind != "cure")
        assert not any((s.origin[s.action_mask] == Origin.HINT).any() for s in episode.segments)
        if kind == "cure":
            assert episode.branch["episode"] in {e.id for e in ours}
    if kind in ("ghpo", "guide", "agent_rlvr", "sage"):
        assert guided, "no group failed: the world is too easy for this test"
        assert all(e.guidance["hint"] for e in guided)
    assert measured
    for episode in measured:
        assert not episode.guidance
        assert not any(m.hint for m in episode.prompt)
        assert not any((s.origin == Origin.HINT).any() for s in episode.segments)


def test_the_measurement_of_guided_weights_is_that_of_a_plain_run_file(world: Path) -> None:
    """The same checkpoint, measured with and without the guidance section: one and the same."""
    run = config(world, "sage_light")
    train(run)
    bare = load_config("run.yaml", [f"run.dir={world}/run"])
    with_section, without = evaluate(run), evaluate(bare)
    assert [plain(e) for e in with_section.episodes] == [plain(e) for e in without.episodes]


def test_a_resumed_run_goes_on_with_the_levels_it_had(world: Path) -> None:
    train(config(world, "sage_light"))
    train(config(world, "sage_light", "train.steps=2", run="other"))
    train(config(world, "sage_light", run="other"), resume=True)
    assert_same(world / "run", world / "other")


def test_a_budget_of_rollouts_ends_the_run(world: Path) -> None:
    done = train(config(world, "ghpo", "train.rollouts=7"))
    with RunStore.open(done.directory, read_only=True) as store:
        counts = [n for _, n in store.metrics("train/rollouts")["train/rollouts"]]
        assert store.checkpoints.latest() == done.steps
    assert done.steps < 3
    assert done.after is not None
    assert counts[-1] >= 7
    assert all(count < 7 for count in counts[:-1])


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["guidance.kind=guide", "learner.ratio.hints=keep"], "guidance.train.context"),
        (["guidance.kind=sagee"], "did you mean sage"),
        (["guidance.kind=sage", "guidance.ladder=[{kind: teacher, model: {name: x}}]"], "ladder"),
        (["guidance.kind=sage", "guidance.trigger.kind=never"], "trigger"),
    ],
)
def test_a_section_that_does_not_fit_is_refused(
    world: Path, overrides: list[str], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        load_config("run.yaml", overrides)


def test_an_agent_program_cannot_be_guided(world: Path) -> None:
    agent = 'environment={kind: agent, program: "m:f"}'
    with pytest.raises(ConfigError, match="cannot be given hints"):
        load_config("run.yaml", [agent, "guidance.kind=sage"])


def test_the_learner_is_told_what_belongs_to_the_method(world: Path) -> None:
    guide = config(world, "guide").learner
    assert guide.ratio.hints == "strip"
    assert guide.off_policy is not None
    assert guide.off_policy.quantile == 0.9
    own = config(world, "guide", "learner.off_policy={kind: identity}").learner
    assert own.off_policy is not None
    assert own.off_policy.kind == "identity"
    read_back = config(world, "guide")
    assert RunConfig.model_validate(read_back.plain()) == read_back
