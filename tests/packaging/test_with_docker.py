"""`.ci/with-docker`: uses the engine there is, starts and ends one where it may, else says why.

The engine is a script here, so that the cases of a machine without one can be had on any machine;
the real start is what CI itself goes through.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / ".ci" / "with-docker"

DOCKER = '[ -e "{folder}/up" ]'
DOCKERD = """\
touch "{folder}/up"
trap 'rm "{folder}/up"; exit 0' TERM
while :; do sleep 0.05; done
"""


class Machine:
    """A PATH on which docker, dockerd and id are what the test says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {k: v for k, v in os.environ.items() if k != "DOCKER_HOST"}
        self.environment["PATH"] = f"{folder}:{os.environ['PATH']}"
        self.put("docker", DOCKER)
        self.put("dockerd", DOCKERD)
        self.put("id", '[ "$1" = -un ] && echo somebody || echo 0')

    def put(self, name: str, script: str) -> None:
        file = self.folder / name
        file.write_text("#!/bin/bash\n" + script.format(folder=self.folder), "utf-8")
        file.chmod(0o755)

    @property
    def engine_runs(self) -> bool:
        return (self.folder / "up").exists()

    def start(self, *command: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [SCRIPT, *command],
            env=self.environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def run(self, *command: str) -> tuple[int, str, str]:
        process = self.start(*command)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err


@pytest.fixture
def machine(tmp_path) -> Machine:
    return Machine(tmp_path)


def test_an_engine_that_answers_is_left_alone(machine):
    (machine.folder / "up").touch()
    assert machine.run("bash", "-c", "echo hello; exit 7") == (7, "hello\n", "")
    assert machine.engine_runs


def test_what_it_started_runs_with_the_command_and_ends_with_it(machine):
    code, out, _ = machine.run("bash", "-c", f"ls {machine.folder}/up; exit 3")
    assert (code, out.strip()) == (3, f"{machine.folder}/up")
    assert not machine.engine_runs


def test_ctrl_c_ends_the_command_and_then_the_engine(machine):
    command = "trap 'echo tidied; exit 130' INT; echo ready; while :; do sleep 0.05; done"
    process = machine.start("bash", "-c", command)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    os.killpg(process.pid, signal.SIGINT)
    assert process.communicate(timeout=60)[0] == "tidied\n"
    assert process.returncode == 130
    _until(lambda: not machine.engine_runs)


def _until(true) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_an_engine_that_will_not_start_says_why_and_the_command_does_not_run(machine):
    machine.put("dockerd", "echo 'the kernel says no' >&2; exit 1")
    code, out, err = machine.run("echo", "ran")
    assert (code, out) == (69, "")
    assert "the kernel says no" in err
    assert "dockerd does not come up" in err


def test_without_root_it_says_which_group_to_join(machine):
    machine.put("id", '[ "$1" = -un ] && echo somebody || echo 1000')
    machine.put("docker", "echo 'permission denied on the socket' >&2; exit 1")
    code, out, err = machine.run("echo", "ran")
    assert (code, out) == (69, "")
    assert "permission denied on the socket" in err
    assert "usermod -aG docker somebody" in err


def test_a_remote_engine_that_is_down_is_not_replaced_by_a_local_one(machine):
    machine.environment["DOCKER_HOST"] = "tcp://192.0.2.1:2375"
    code, _, err = machine.run("echo", "ran")
    assert code == 69
    assert "tcp://192.0.2.1:2375 does not answer" in err
    assert not machine.engine_runs
