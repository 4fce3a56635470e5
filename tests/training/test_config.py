"""Run files: what is read, and what a mistake is answered with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from agentrl.core import ConfigError
from agentrl.training.config import (
    DockerConfig,
    EvalConfig,
    ModelConfig,
    SweConfig,
    TrainConfig,
    load_config,
    parse_config,
)
from agentrl.training.config.reference import reference

GOOD = """\
model: Qwen/Qwen3-0.6B
environment: {kind: swe, sandbox: {kind: docker, pool: 16}}
tasks: {train: tasks/train.jsonl, eval: tasks/eval.jsonl}
reward:
  kind: gated
  outcome: {kind: tests_pass}
  above: 0.0
  steps: [{kind: format_ok, weight: 0.1}, {kind: tool_ok, weight: 0.1}]
learner: {algorithm: grpo, group_size: 8, learning_rate: 1e-6}
"""


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write(text: str) -> Path:
        path = tmp_path / "run.yaml"
        path.write_text(text)
        return path

    return write


def message(write: Any, text: str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as error:
        load_config(write(text), overrides)
    return str(error.value)


def test_a_good_file_is_read(write: Any) -> None:
    config = load_config(write(GOOD))
    assert config.model.path == "Qwen/Qwen3-0.6B"
    assert isinstance(config.environment, SweConfig)
    assert isinstance(config.environment.sandbox, DockerConfig)
    assert config.environment.sandbox.pool == 16
    assert config.engine.kind == "transformers"
    assert config.learner.learning_rate == 1e-6
    assert config.run.dir == "runs/run"


def test_what_was_resolved_reads_back_as_the_same(write: Any) -> None:
    config = load_config(write(GOOD), ["warmstart.script=m:C", "learner.algorithm=dapo"])
    text = yaml.safe_dump(config.plain())
    assert load_config(write(text)) == config
    assert load_config(write(text)).plain() == config.plain()


def test_overrides_are_yaml_values(write: Any) -> None:
    config = load_config(
        write(GOOD),
        [
            "learner.group_size=16",
            "learner.learning_rate=3e-4",
            "reward.steps.1.weight=0.5",
            "engine.max_slots=3",
            "model.dialect=json",
            "environment.tools=[view, search]",
            "environment.sandbox={kind: process}",
            "tasks.limit=null",
            "run.dir=/tmp/x=y",
        ],
    )
    assert config.learner.group_size == 16
    assert config.learner.learning_rate == 3e-4
    assert config.reward["steps"][1]["weight"] == 0.5
    assert config.engine.kind == "transformers"
    assert (config.model.path, config.model.dialect) == ("Qwen/Qwen3-0.6B", "json")
    assert config.environment.kind == "swe"
    assert config.environment.tools == ["view", "search"]
    assert config.environment.sandbox.kind == "process"
    assert config.run.dir == "/tmp/x=y"


def test_an_environment_of_your_own(write: Any) -> None:
    config = load_config(write(GOOD), ["environment={kind: 'my.code:Ledger', args: {size: 3}}"])
    assert config.environment.kind == "my.code:Ledger"
    assert "environment.kind" in message(write, GOOD, "environment.kind=a:b:c")


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("learner.gruop_size=4", ["learner.gruop_size: unknown key; did you mean group_size?"]),
        ("lerner.group_size=4", ["lerner: unknown key; did you mean learner?", "allowed: model,"]),
        ("train.seed=yes", ["train.seed: must be a whole number, is True"]),
        ("train.steps=1.5", ["train.steps: must be a whole number, is 1.5"]),
        ("train.steps=0", ["train.steps: must be greater than or equal to 1, is 0"]),
        ("train.steps='3'", ["train.steps: must be a whole number, is '3'"]),
        ("train=3", ["train: must be a mapping, is 3"]),
        ("model.dtype=float23", ["model.dtype: must be one of a few", "did you mean float32?"]),
        ("model.dialect=hermez", ["model.dialect: 'hermez'", "did you mean hermes?"]),
        ("engine.kind=transformer", ["engine.kind: 'transformer'", "did you mean transformers?"]),
        ("environment.kind=sew", ["environment.kind: 'sew' is not a kind", "module:Name"]),
        (
            "environment.sandbox.kind=doker",
            ["environment.sandbox.kind: 'doker'", "did you mean docker?", "docker, process"],
        ),
        ("environment.sandbox.memory=1", ["environment.sandbox.memory: unknown", "memory_mb?"]),
        (
            "environment={}",
            [
                "environment.kind: is missing; allowed: swe, search, simulated, gui, agent, "
                "module:Name",
            ],
        ),
        ("environment=swe", ["environment: must be a mapping with a kind, is 'swe'"]),
        ("tasks={}", ["tasks.train: is missing (Tasks to train on)"]),
        (
            "learner.algorithm=grop",
            ["learner.algorithm: 'grop' is not an algorithm; did you mean grpo?"],
        ),
        ("learner.ratio.level=tokn", ["learner.ratio.level", "did you mean token?"]),
        ("reward.outcome.kind=test_pass", ["reward.outcome.kind", "tests_pass"]),
        ("reward.steps.0.wait=1", ["reward.steps[0].wait"]),
        ("sampling.max_tokens=9000", ["sampling.max_tokens: is more than the whole", "8192"]),
        ("warmstart.kind=scripted", ["warmstart.script: is missing (Python name module:Class"]),
    ],
)
def test_mistakes_name_the_path_and_the_way_out(
    write: Any, override: str, expected: list[str]
) -> None:
    text = message(write, GOOD, override)
    assert text.count(" (override): ") == 1 or override.startswith("sampling"), text
    text = text.replace(" (override): ", ": ")
    for part in expected:
        assert part in text, text


def test_held_out_evaluation_needs_held_out_tasks(write: Any) -> None:
    text = message(write, GOOD, "tasks.eval=null", "train.eval_every=5")
    assert "train.eval_every (override): needs held-out tasks: give tasks.eval" in text


def test_all_mistakes_are_shown_at_once_with_their_lines(write: Any) -> None:
    bad = GOOD.replace("group_size: 8", "gruop_size: 8").replace("pool: 16", "pool: 0")
    text = message(write, bad, "train.steps=-1")
    assert "3 things are wrong" in text
    assert "environment.sandbox.pool (line 2): must be greater" in text
    assert "learner.gruop_size (line 9): unknown key" in text
    assert "train.steps (override): must be greater" in text


def test_a_key_given_twice_is_refused(write: Any) -> None:
    text = message(write, GOOD + "model: other\n")
    assert "run.yaml:10: model is given twice (first on line 1)" in text


def test_a_syntax_error_names_its_line(write: Any) -> None:
    text = message(write, GOOD + "train: {steps: 3\n")
    assert "run.yaml:11: not valid YAML" in text
    assert "not valid YAML: unacceptable character #x0000" in message(write, "a: \x00")
    assert "an alias that holds itself" in message(write, "a: &x [*x]")


@pytest.mark.parametrize(("text", "found"), [("", "is empty"), ("- 1", "a list"), ("x", "a str")])
def test_a_file_that_is_no_mapping(write: Any, text: str, found: str) -> None:
    assert found in message(write, text)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load_config(tmp_path / "nothing.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("learner.group_size", "write section.key=value"),
        ("=3", "write section.key=value"),
        ("learner..x=3", "write section.key=value"),
        ("learner.group_size.x=3", "learner.group_size is 8, it has no keys"),
        ("reward.steps.7.weight=1", "'7' is not one of the 2 items"),
        ("reward.steps.last=1", "give a number from 0 to 1"),
        ("train.steps={", "override train.steps:1: not valid YAML"),
    ],
)
def test_overrides_that_cannot_be_applied(write: Any, override: str, expected: str) -> None:
    assert expected in message(write, GOOD, override)


def test_plain_values_can_be_checked_without_a_file() -> None:
    with pytest.raises(ConfigError, match="things are wrong"):
        parse_config({})


def test_the_reference_in_the_docs_is_what_the_code_says() -> None:
    written = (Path(__file__).parents[2] / "docs/run-file.md").read_text("utf-8")
    assert written == reference(), "run: python -m agentrl.training.config > docs/run-file.md"
    for name in ("## train", "## environment.sandbox: {kind: docker}", "| `group_size` |"):
        assert name in written


def test_every_key_is_described() -> None:
    for section in (TrainConfig, SweConfig, DockerConfig, EvalConfig, ModelConfig):
        for name, field in section.model_fields.items():
            assert field.description or name == "kind", name


def test_the_example_in_the_docs_is_a_complete_file(write: Any) -> None:
    example = reference().split("```yaml\n")[1].split("```")[0]
    assert load_config(write(example)).train.eval_every == 20
