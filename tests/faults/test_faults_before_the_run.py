"""What is wrong before the first episode: a message, exit code 2, and nothing in the way after."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from agentrl.cli import main
from agentrl.store import RunStore

DOCKER = "environment.sandbox={kind: docker, pool: 1, spare: 0%s}"


def refused(capsys: pytest.CaptureFixture[str], *overrides: str) -> str:
    """What `agentrl train` says; it must be for people, with a way out."""
    assert main(["train", "run.yaml", *overrides]) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert "agentrl: " in said
    assert "\n  -> " in said
    return said


def test_a_run_whose_episodes_all_break_stops_and_goes_on_once_that_is_put_right(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module = here / "fault_world.py"
    sound = module.read_text()
    broken = "    async def reset(self, task):\n        raise OSError('the archive is gone')\n"
    module.write_text(sound.replace("\n\nclass Zero", f"\n{broken}\n\nclass Zero"))
    train, measure = (
        [sys.executable, "-m", "agentrl.cli", command, "run.yaml"] for command in ("train", "eval")
    )
    for command in (measure, train):
        stopped = subprocess.run(command, capture_output=True, text=True, check=False)
        assert stopped.returncode == 2, stopped.stderr
        assert "held-out episodes broke, the first by environment_raised" in stopped.stderr
        assert "the archive is gone" in stopped.stderr
    module.write_text(sound)
    subprocess.run(train, check=True, capture_output=True)
    assert len(RunStore.open("run", read_only=True).summaries(split="train")) == 2


def test_missing_docker_and_then_the_same_command_again(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{here}/docker.sock")
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    said = refused(capsys, DOCKER % "")
    assert "Docker is not installed" in said
    assert "sudo apt-get install docker.io" in said
    # Nobody should need --resume for a run that never began.
    assert main(["train", "run.yaml"]) == 0
    with RunStore.open("run", read_only=True) as store:
        assert store.config["environment"]["sandbox"] is None


def test_dead_docker(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = here / "docker.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
    said = refused(capsys, DOCKER % "")
    assert "Connection refused" in said
    assert "systemctl start docker" in said


@pytest.mark.docker
def test_no_image(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, DOCKER % ", image: 'agentrl/never-built:1'")
    assert "agentrl/never-built:1" in said
    assert "agentrl.sandboxes.images" in said or "agentrl sandbox build" in said


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"id": "b", "prompt": ', "not JSON"),
        ('{"id": "b"}', "field 'prompt'"),
        ('{"id": "a", "prompt": "again"}', "every task needs an id of its own"),
    ],
)
def test_a_malformed_task_file_names_its_line(
    here: Path, capsys: pytest.CaptureFixture[str], line: str, says: str
) -> None:
    first = json.dumps({"id": "a", "prompt": "go"})
    (here / "tasks.jsonl").write_text(f"{first}\n{line}\n")
    said = refused(capsys)
    assert "tasks.jsonl:2" in said
    assert says in said
    assert not (here / "run").exists()


def test_a_model_directory_without_a_chat_template(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "policy/chat_template.jinja").unlink()
    said = refused(capsys)
    assert "the model has no chat template" in said
    assert not (here / "run").exists()
