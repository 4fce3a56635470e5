"""A full disk and kill -9 lose nothing that was stored."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from agentrl.core import Episode, Segment, Task
from agentrl.store import DiskFullError, RunStore


def episode(number: int, tokens: int = 20_000) -> Episode:
    """One that cannot be compressed."""
    bits = np.random.default_rng(number)
    words = bits.integers(0, 2**31, tokens, np.int32)
    noise = bits.random(tokens, np.float32)
    small = np.zeros(tokens, np.uint8)
    segment = Segment(words, small, noise, small.astype(np.int16), words)
    return Episode(Task("t", "p"), id=str(number), segments=[segment])


def fill(store: RunStore) -> tuple[list[str], DiskFullError]:
    """Store episodes until the disk is full; the ids that were stored, and the error."""
    for number in range(10_000):
        try:
            store.add_episodes(number, "train", [episode(number)])
        except DiskFullError as error:
            return [str(n) for n in range(number)], error
    raise AssertionError("the disk never filled up")


def check(store: RunStore, ids: list[str]) -> None:
    back = store.episodes()
    assert [e.id for e in back] == ids
    assert all((e.segments[0].tokens == episode(int(e.id)).segments[0].tokens).all() for e in back)
    integrity = store._database.read("PRAGMA integrity_check")[0][0]
    assert integrity == "ok"


def full_disk_story(directory: Path, make_space: list[Path]) -> None:
    """Fill, read the message, lose nothing, make space, go on."""
    store = RunStore.create(directory / "run", {"model": "tiny"})
    store.save_checkpoint(1, {"w": torch.ones(10)}, {"lr": 0.1})
    ids, error = fill(store)
    assert ids
    assert "no space left while writing to the run's database" in str(error)
    assert "everything stored before it is intact" in str(error)
    assert "make space" in error.fix
    with pytest.raises(DiskFullError, match="no space left while"):
        store.save_checkpoint(2, {"w": torch.ones(4_000_000)}, {})
    assert store.load_checkpoint().step == 1
    assert not list((directory / "run/checkpoints").glob(".*"))
    check(store, ids)
    store.close()

    for path in make_space:
        path.unlink()
    with RunStore.open(directory / "run") as store:
        check(store, ids)
        assert store.load_checkpoint().state == {"lr": 0.1}
        store.add_episodes(99, "train", [episode(len(ids))])
        store.save_checkpoint(3, {"w": torch.ones(100_000)}, {})
        check(store, [*ids, str(len(ids))])
        assert store.load_checkpoint().step == 3


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 8 MB, 4 of them taken by a file `ballast`."""
    mount = tmp_path / "disk"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(mount)], check=True)
    try:
        (mount / "ballast").write_bytes(os.urandom(4 << 20))
        yield mount
    finally:
        subprocess.run(["umount", "-l", str(mount)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root; the limit test runs anyway")
def test_a_full_file_system(small_disk: Path) -> None:
    full_disk_story(small_disk, [small_disk / "ballast"])


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root; the limit test runs anyway")
def test_a_file_system_that_is_full_from_the_start(small_disk: Path) -> None:
    with open(small_disk / "rest", "wb", 0) as rest, contextlib.suppress(OSError):
        while True:
            rest.write(b"x" * 4096)
    assert os.statvfs(small_disk).f_bavail == 0
    with pytest.raises(DiskFullError, match="no space left while"):
        RunStore.create(small_disk / "run", {"model": "tiny"})
    (small_disk / "rest").unlink()
    RunStore.create(small_disk / "run", {"model": "tiny"}).close()


def test_a_file_size_limit(tmp_path: Path) -> None:
    """As with a quota: in a process of its own, since a limit cannot be raised again."""
    script = f"""
        import resource, sys
        from pathlib import Path
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        import test_disasters
        limit = 2 << 20
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        class Lift:
            def unlink(self):
                inf = resource.RLIM_INFINITY
                resource.setrlimit(resource.RLIMIT_FSIZE, (inf, inf))
        test_disasters.full_disk_story(Path({str(tmp_path)!r}), [Lift()])
        print("survived")
    """
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True
    )
    assert done.stdout == "survived\n", done.stderr


WRITER = """
import sys, torch
sys.path.insert(0, {tests!r})
from test_disasters import episode
from agentrl.store import RunStore
store = RunStore.create({run!r}, {{}})
for step in range(100_000):
    with store.transaction():
        store.add_episodes(step, "train", [episode(2 * step, 500), episode(2 * step + 1, 500)])
        store.add_metrics(step, {{"x": float(step)}})
    store.save_checkpoint(step, {{"w": torch.full((50_000,), float(step))}}, {{"step": step}})
    print(step, flush=True)
"""


@pytest.mark.parametrize("steps", [1, 4, 9])
def test_kill_9_in_the_middle_of_writing(tmp_path: Path, steps: int) -> None:
    run = tmp_path / "run"
    program = WRITER.format(tests=str(Path(__file__).parent), run=str(run))
    writer = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    try:
        for _ in range(steps):
            last = int(writer.stdout.readline())
    finally:
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
    with RunStore.open(run) as store:
        stored = [s.step for s in store.summaries()]
        assert stored == [step for step in range(len(stored) // 2) for _ in range(2)]
        assert len(stored) // 2 >= last + 1
        assert [step for step, _ in store.metrics()["x"]] == sorted(set(stored))
        checkpoint = store.load_checkpoint()
        assert checkpoint.step >= last
        assert checkpoint.state["step"] == checkpoint.step == checkpoint.tensors["w"][-1]
        assert not list((run / "checkpoints").glob(".writing*"))
        store.add_metrics(10**6, {"x": 0.0})


def test_killed_before_the_tables_were_made(tmp_path: Path) -> None:
    RunStore.create(tmp_path / "run", {"a": 1}).close()
    for file in (tmp_path / "run").glob("run.db*"):
        file.unlink()
    (tmp_path / "run/run.db").touch()
    with RunStore.open(tmp_path / "run") as store:
        store.add_metrics(1, {"x": 1.0})
        assert store.config == {"a": 1}
