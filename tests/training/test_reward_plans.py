"""Group rewards and transforms in the loop, through a kill; and `agentrl rescore`."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from loop_kit import RUN_FILE, agentrl, assert_same, make_world

from agentrl.core import ChatModel, ConfigError
from agentrl.store import RunStore
from agentrl.training.config.rewards import check_rewards

REWARD = """\
reward:
  kind: "coin_world:Landed"
  group: [{kind: length, form: pruner, weight: 0.1}]
  transforms:
    - {kind: constraints, limits: {resolved: 0.3}, eta: 0.2}
    - {kind: std_filter, begin: 1, filter_from: 2, kappa: 0.9}
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    world = make_world(tmp_path_factory.mktemp("rewards"))
    plain = 'reward: {kind: "coin_world:Landed"}\n'
    assert plain in RUN_FILE
    (world / "run.yaml").write_text(RUN_FILE.replace(plain, REWARD))
    done = agentrl(world, "train", "run.yaml")
    assert done.returncode == 0, done.stderr
    return world


def test_the_loop_runs_group_rewards_and_transforms(world: Path) -> None:
    with RunStore.open(world / "run", read_only=True) as store:
        metrics = store.metrics()
        episodes = store.episodes(split="train", step=1)
    assert [s for s, _ in metrics["train/transform/constraints/rate/resolved"]] == [1, 2, 3, 4, 5]
    assert metrics["train/transform/std_filter/dropped"][0][1] == 0
    assert any(e.reward != e.scores["length"].value for e in episodes)
    for e in episodes:
        assert {"landed", "length", "reward/before_transforms", "reward"} <= e.scores.keys()
        assert e.scores["reward/before_transforms"].value == e.scores["length"].value


def test_what_rewards_remember_survives_a_kill(world: Path, tmp_path: Path) -> None:
    again = shutil.copytree(world, tmp_path / "w", ignore=shutil.ignore_patterns("run"))
    killed = agentrl(again, "train", "run.yaml", fault="learned:4:kill")
    assert killed.returncode == -9
    done = agentrl(again, "train", "run", "--resume")
    assert done.returncode == 0, done.stderr
    assert_same(again / "run", world / "run")


def test_tasks_derived_from_a_steps_episodes_run_in_that_step(world: Path, tmp_path: Path) -> None:
    again = shutil.copytree(world, tmp_path / "w", ignore=shutil.ignore_patterns("run"))
    done = agentrl(again, "train", "run.yaml", "reward.derive=[{kind: verify_own, count: 1}]")
    assert done.returncode == 0, done.stderr
    with RunStore.open(again / "run", read_only=True) as store:
        for step in range(1, 6):
            episodes = store.episodes(split="train", step=step)
            derived = [e for e in episodes if "derived" in e.task.metadata]
            assert (len(episodes), len(derived)) == (9, 3)
            assert len({e.task.id for e in derived}) == 1
            solution = next(e for e in episodes if e.task.id == derived[0].task.id.split("/")[0])
            assert solution.task.prompt in derived[0].task.prompt
            grades = {f"{e.scores['landed'].value:g}" for e in episodes}
            assert derived[0].task.reference["answer"] in grades


def test_a_run_judged_again(world: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(
        'reward: {kind: weighted, parts: [{kind: "coin_world:Landed"}, {kind: tool_ok}]}'
    )
    out = tmp_path / "scores.jsonl"
    before = (world / "run" / "run.db").read_bytes()
    done = agentrl(world, "rescore", "run", "--reward", str(other), "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert "30 episodes in 10 groups" in done.stdout
    assert "turns change sign" in done.stdout
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(lines) == 30
    for line in lines:
        assert line["rescored"]["landed"] == line["stored"]["landed"]
        assert line["rescored"]["reward"] == line["stored"]["landed"] + line["rescored"]["tool_ok"]
    assert (world / "run" / "run.db").read_bytes() == before


def test_the_same_reward_again_changes_nothing(world: Path) -> None:
    done = agentrl(world, "rescore", "run", "--reward", "run.yaml", "--step", "1")
    assert done.returncode == 0, done.stderr
    assert "distance 0.000 of 1" in done.stdout
    assert "0.0% of turns change sign" in done.stdout
    picked, at_most = re.search(r"reward: (\S+) of .* at most (\S+)\)", done.stdout).groups()
    assert picked == at_most


def test_log_probabilities_of_then_are_gone(world: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text("{kind: self_aligned}")
    done = agentrl(world, "rescore", "run", "--reward", str(other))
    assert done.returncode == 2
    assert "log-probabilities" in done.stderr


def test_a_section_is_checked_without_opening_anything() -> None:
    check_rewards({"kind": "unit_tests", "sandbox": {"kind": "process"}})
    check_rewards({"kind": "judge", "judge": {"kind": "nowhere:Model"}})
    check_rewards({"kind": "judge", "judge": {"model": "openai/gpt-x", "budget": 5.0}})
    for wrong, said in (({"modle": "x"}, "judge"), ({"kind": "other"}, "no kind of chat model")):
        with pytest.raises(ConfigError, match=said):
            check_rewards({"kind": "judge", "judge": wrong})
    with pytest.raises(ConfigError, match=r"reward\.sandbox"):
        check_rewards({"kind": "unit_tests", "sandbox": {"kind": "moon"}})
    with pytest.raises(ConfigError, match="unknown setting"):
        check_rewards({"kind": "unit_tests", "pool": 4})


def test_a_judge_behind_an_api_is_made_with_its_cache(tmp_path: Path) -> None:
    from agentrl.training.rewards import chat_models

    chat = chat_models(lambda name, where: None, tmp_path / "answers.db")
    judge = chat({"model": "openai/gpt-x", "budget": 1.0}, "reward.judge")
    assert isinstance(judge, ChatModel)
    assert chat({"model": "openai/gpt-x", "budget": 1.0}, "elsewhere") is judge
    assert (tmp_path / "answers.db").exists()
