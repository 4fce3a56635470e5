"""`agentrl eval`, `rollout` and `replay --again`: a real policy in an environment of a user."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agentrl.cli import main
from agentrl.core import Episode, Task
from agentrl.models import save_policy, tiny_policy, train_tokenizer
from agentrl.store import RunStore

ENVIRONMENT = '''\
from agentrl import Environment, Score, Task, tool
from agentrl.core import Message
from agentrl.environments import Observation


class Guess(Environment):
    """The text must hold the answer."""

    async def reset(self, task: Task):
        return task.prompt

    @tool
    async def look(self, where: str) -> str:
        """Look somewhere.

        Args:
            where: a place.
        """
        return "nothing"

    def finish(self, episode):
        return {"resolved": episode.task.id != "never"}


class Talk(Guess):
    """Goes on whatever is said; how far it is can be read in what it answers."""

    async def reset(self, task: Task):
        self.said = 0
        return task.prompt

    async def step(self, turn):
        self.said += 1
        return Observation([Message("user", f"that was {self.said}")])


class Solved:
    name = "solved"

    async def score(self, episode):
        return Score(float(episode.outcome["resolved"]))
'''

RUN_FILE = """\
model: policy
environment: {kind: "cli_guess:Guess", max_turns: 2, max_tokens: 1000}
tasks: {train: tasks.jsonl, eval: tasks.jsonl}
reward: {kind: "cli_guess:Solved"}
sampling: {max_tokens: 12}
eval: {samples: 2}
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cli_guess.py").write_text(ENVIRONMENT)
    (tmp_path / "run.yaml").write_text(RUN_FILE)
    tasks = [{"id": name, "prompt": f"guess {name}"} for name in ("a", "b", "c", "never")]
    (tmp_path / "tasks.jsonl").write_text("".join(json.dumps(t) + "\n" for t in tasks))
    tokenizer = train_tokenizer(["guess a number"], 300)
    sizes = {"hidden": 32, "layers": 1, "heads": 2, "kv_heads": 1, "head_dim": 16}
    save_policy(tiny_policy(tokenizer, **sizes), tmp_path / "policy")
    return tmp_path


def test_eval_prints_rates_with_intervals(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "run.yaml"]) == 0
    out = capsys.readouterr().out
    assert "4 tasks, 8 episodes\n" in out
    assert "pass@1  75.0%  95% interval [25.0%, 100.0%]" in out
    assert "pass@2  75.0%" in out
    assert main(["eval", "run.yaml", "eval.max_tasks=1", "--json"]) == 0
    numbers = json.loads(capsys.readouterr().out)
    assert numbers["pass@1"] == 1.0
    assert numbers["by_task"] == {"a": 1.0}


def test_rollout_prints_episodes(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rollout", "run.yaml", "--count", "2"]) == 0
    said = capsys.readouterr()
    assert said.out.count("--- verdict") == 2
    assert "--- user\nguess b" in said.out
    assert "2 episodes, 100% solved" in said.err


def test_replay_runs_a_task_again(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from agentrl.training.config import load_config

    with RunStore.create("runs/run", load_config("run.yaml").plain()) as store:
        store.add_episodes(1, "train", [Episode(Task("never", "guess never"), "x")])
    assert main(["replay", "runs/run", "--task", "never", "--again", "3"]) == 0
    out = capsys.readouterr().out
    assert out.count("=== never") == 3
    assert "resolved: false" in out
    assert out.endswith("3 episodes, 0% solved\n")


def test_an_attempt_is_taken_up_before_it_went_wrong(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["train.steps=1", "train.tasks_per_step=4", "learner.group_size=2", "eval.samples=1"]
    talk = ["environment.kind=cli_guess:Talk", "environment.max_turns=3"]
    assert main(["train", "run.yaml", *small, *talk]) == 0
    with RunStore.open("runs/run", read_only=True) as store:
        id = store.failures("never")[0].episodes[0]
    capsys.readouterr()
    command = ["replay", "runs/run", "--episode", id, "--again", "2"]
    assert main([*command, "--from", "wrong"]) == 0  # its first message was cut off by its length
    out = capsys.readouterr().out
    assert out.count("=== never") == 2
    assert out.endswith("2 episodes, 0% solved\n")
    assert main([*command, "--from", "2"]) == 0
    assert capsys.readouterr().out.count("turns 0 to 1 are the same in both") == 2
    assert main([*command, "--from", "1", "--beside", "sampling.temperature=0"]) == 0
    out = capsys.readouterr().out
    assert out.count("the run's newest policy") == out.count("sampling.temperature=0") == 2
    assert out.count("that was 3") == 4
    assert out.endswith("2 episodes, 0% solved beside 2 episodes, 0% solved\n")
    assert main([*command, "--from", "7"]) == 2
    assert "'7' is no turn of this episode" in capsys.readouterr().err


def test_a_missing_task_file_or_model_is_a_message(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", "run.yaml", "tasks.eval=nowhere.jsonl"]) == 2
    assert "agentrl: nowhere.jsonl: the task file cannot be read" in capsys.readouterr().err
    assert main(["eval", "run.yaml", "model=nowhere/at/all"]) == 2
    said = capsys.readouterr().err
    assert "nowhere/at/all" in said
    assert "->" in said
    (here / "policy" / "chat_template.jinja").unlink()
    assert main(["eval", "run.yaml"]) == 2
    assert "the model has no chat template" in capsys.readouterr().err


def test_an_environment_that_cannot_be_imported_is_named(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", "run.yaml", "environment.kind=cli_guess:Gess"]) == 2
    assert "environment.kind: cannot import 'cli_guess:Gess'" in capsys.readouterr().err


def test_train_resume_and_plot(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["train.steps=2", "train.tasks_per_step=2", "learner.group_size=2"]
    assert main(["train", "run.yaml", *small, "train.checkpoint_every=1"]) == 0
    said = capsys.readouterr()
    assert "2 steps, kept in runs/run" in said.out
    assert "before 75.0%" in said.out
    assert "plots in runs/run/plots/training.png" in said.out
    assert (here / "runs/run/plots/training.png").stat().st_size > 10_000
    assert "step 2/2 done: reward" in said.err
    with RunStore.open("runs/run", read_only=True) as store:
        assert len(store.summaries(split="train")) == 8
        assert {f.task for f in store.failures()} <= {"never"}
    assert main(["train", "run.yaml", *small]) == 2
    assert "this directory already holds a run" in capsys.readouterr().err
    assert main(["train", "runs/run", "--resume", "train.steps=3"]) == 0
    assert "3 steps, kept in runs/run" in capsys.readouterr().out
    with RunStore.open("runs/run", read_only=True) as store:
        assert [s.step for s in store.summaries(split="train")] == [1] * 4 + [2] * 4 + [3] * 4
