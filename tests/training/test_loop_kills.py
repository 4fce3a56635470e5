"""Killed, interrupted or out of disk: a resumed run is the run that nothing happened to."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from loop_kit import agentrl, assert_same, history, make_world

from agentrl.store import RunStore

STEPS, GROUPS, SIZE, HELD_OUT = 5, 2, 3, 3


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing happened to."""
    world = make_world(tmp_path_factory.mktemp("undisturbed"))
    done = agentrl(world, "train", "run.yaml")
    assert done.returncode == 0, done.stderr
    assert "5 steps, kept in run" in done.stdout
    return world


@pytest.fixture
def world(undisturbed: Path, tmp_path: Path) -> Path:
    return shutil.copytree(undisturbed, tmp_path / "w", ignore=shutil.ignore_patterns("run"))


def test_an_undisturbed_run_is_complete(undisturbed: Path) -> None:
    with RunStore.open(undisturbed / "run", read_only=True) as store:
        counted = [(s.step, s.split) for s in store.summaries()]
        for step in range(1, STEPS + 1):
            assert counted.count((step, "train")) == GROUPS * SIZE
        for step in (0, 2, 4, STEPS):
            assert counted.count((step, "eval")) == HELD_OUT
        assert len(counted) == STEPS * GROUPS * SIZE + 4 * HELD_OUT
        metrics = store.metrics()
        assert [step for step, _ in metrics["eval/rate"]] == [0, 2, 4, STEPS]
        for name in ("train/loss", "train/solved_rate", "train/seconds_step"):
            assert [step for step, _ in metrics[name]] == [1, 2, 3, 4, 5], name
        first = store.load_checkpoint(4).tensors
        last = store.load_checkpoint(STEPS).tensors
    assert any((first[name] != last[name]).any() for name in first), "nothing was learned"


def test_kill_9_anywhere_changes_nothing(undisturbed: Path, world: Path) -> None:
    """One run, killed again and again: each process dies a little further on."""
    deaths = [
        ("evaluated:1:kill", None),
        ("stored:1:kill", None),
        ("episode:14:kill", None),
        ("checkpoint:1:kill", None),
        ("evaluated:2:kill", 2),
        ("learned:2:kill", 2),
    ]
    resume = ["--resume"]
    for number, (fault, saved) in enumerate(deaths):
        died = agentrl(world, "train", "run.yaml", *(resume if number else []), fault=fault)
        assert died.returncode == -9, (fault, died.stdout, died.stderr)
        with RunStore.open(world / "run", read_only=True) as store:
            assert store.checkpoints.latest() == saved, fault
    done = agentrl(world, "train", "run", "--resume")
    assert done.returncode == 0, done.stderr
    assert_same(world / "run", undisturbed / "run")


@pytest.mark.parametrize(
    ("fault", "saved"),
    [("episode:17:interrupt", 2), ("learned:3:twice", 3), ("evaluated:2:interrupt", 2)],
)
def test_ctrl_c_saves_and_says_how_to_go_on(
    undisturbed: Path, world: Path, fault: str, saved: int
) -> None:
    stopped = agentrl(world, "train", "run.yaml", fault=fault)
    assert stopped.returncode == 130, stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert f"everything up to step {saved} is saved in run\n" in stopped.stderr
    assert "-> go on with: agentrl train run --resume" in stopped.stderr
    done = agentrl(world, "train", "run", "--resume")
    assert done.returncode == 0, done.stderr
    assert_same(world / "run", undisturbed / "run")


def test_resuming_a_finished_run_changes_nothing(undisturbed: Path, world: Path) -> None:
    shutil.copytree(undisturbed / "run", world / "run")
    files = sorted((world / "run/checkpoints").rglob("*.safetensors"))
    written = [(file, file.stat().st_mtime_ns) for file in files]
    done = agentrl(world, "train", "run", "--resume")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("5 steps, kept in run\nbefore")
    assert [(file, file.stat().st_mtime_ns) for file in files] == written
    assert_same(world / "run", undisturbed / "run")


@pytest.fixture
def small_disk(world: Path) -> Iterator[Path]:
    """A real file system of 8 MB for the run directory."""
    mount = world / "disk"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(mount)], check=True)
    try:
        yield mount
    finally:
        subprocess.run(["umount", "-l", str(mount)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_full_disk_stops_readably_and_goes_on_when_there_is_space(
    undisturbed: Path, world: Path, small_disk: Path
) -> None:
    run = ["train", "run.yaml", "run.dir=disk/run"]
    stopped = agentrl(world, *run, fault="episode:20:fill")
    assert stopped.returncode == 2, stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert "no space left while writing to the run's database" in stopped.stderr
    assert "everything stored before it is intact" in stopped.stderr
    assert "run again with --resume" in stopped.stderr
    assert history(small_disk / "run")["step"] == 2

    (small_disk / "ballast").unlink()
    done = agentrl(world, *run, "--resume")
    assert done.returncode == 0, done.stderr
    assert_same(small_disk / "run", undisturbed / "run")
