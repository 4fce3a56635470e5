"""Failures that runs share on a PostgreSQL server: a real one, made for these tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psycopg
import pytest

from agentrl.core import ConfigError, Episode, Origin, Score, Segment, Status, Task, Turn
from agentrl.store import FailureLog, StoreError
from agentrl.store import postgres as postgres_module
from agentrl.store.postgres import PostgresDatabase


class Server:
    """PostgreSQL with a data directory of its own, reached through a socket in it."""

    def __init__(self) -> None:
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
        if not found and shutil.which("initdb") is None:
            pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
        self.programs = found[-1].parent if found else Path(str(shutil.which("initdb"))).parent
        self.folder = Path(tempfile.mkdtemp(prefix="pg-"))
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres")
        self.run(
            "initdb", "-D", str(self.folder / "data"), "-U", "agent", "--no-sync", "-A", "trust"
        )

    @property
    def url(self) -> str:
        return f"postgresql://agent:secret@/postgres?host={self.folder}"

    def run(self, program: str, *arguments: str) -> None:
        # PostgreSQL refuses to be root.
        other = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        command = [*other, str(self.programs / program), *arguments]
        subprocess.run(command, cwd=self.folder, check=True, capture_output=True, timeout=60)

    def start(self) -> None:
        options = f"-c listen_addresses= -k {self.folder} -F"
        log = str(self.folder / "log")
        self.run("pg_ctl", "-D", str(self.folder / "data"), "-w", "-l", log, "-o", options, "start")

    def stop(self, mode: str = "fast") -> None:
        self.run("pg_ctl", "-D", str(self.folder / "data"), "-w", "-m", mode, "stop")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    made = Server()
    made.start()
    yield made
    made.stop()
    shutil.rmtree(made.folder)


@pytest.fixture
def url(server: Server) -> str:
    """A server without tables."""
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    return server.url


def failed(task: Task, name: str) -> Episode:
    segment = Segment(
        np.arange(3, dtype=np.int32),
        np.array([Origin.PROMPT, Origin.SAMPLED, Origin.SAMPLED], np.uint8),
        np.array([0.0, -1.5, -0.25], np.float32),
        np.zeros(3, np.int16),
        np.array([-1, 4, 4], np.int32),
    )
    turn = Turn(np.arange(2, dtype=np.int32), -np.ones(2, np.float32), "x")
    return Episode(
        task,
        id=name,
        status=Status.COMPLETED,
        turns=[turn],
        segments=[segment],
        scores={"reward": Score(-0.5)},
    )


def test_runs_read_each_others_failures(url: str) -> None:
    first, second = FailureLog.open(url, "first"), FailureLog.open(url, "second")
    task = Task("odd \0 \ud800 id", "do it", payload={"text": "\0 \ud800 é"})
    first.add(1, "failed", task, 0.0, [failed(task, "a"), failed(task, "b")])
    (seen,) = second.events()
    assert (seen.run, seen.step, seen.event, seen.solved) == ("first", 1, "failed", 0.0)
    assert seen.reward == -0.5
    assert seen.episodes == ("a", "b")
    assert second.task(task.id) == task
    second.add(2, "tried", task, 0.5, [failed(task, "c")])
    assert [e.run for e in first.events(after=seen.key)] == ["second"]
    # A run that goes back takes its own lines and episodes with it, and nobody else's.
    first.rewind(0)
    assert [e.run for e in first.events()] == ["second"]
    kept = first._database.read("SELECT id FROM episodes")
    assert [row["id"] for row in kept] == ["c"]
    first.close()
    second.close()


def test_the_newest_task_of_an_id_is_the_one_tried_last(url: str) -> None:
    log = FailureLog.open(url, "run")
    old, new = Task("t", "as it was"), Task("t", "as it is")
    for step, task in enumerate([old, new, old]):
        log.add(step, "failed", task, 0.0, [failed(task, f"e{step}")])
        assert log.task("t") == task
    assert log.task("other") is None
    log.close()


def test_a_write_that_fails_leaves_nothing(url: str) -> None:
    log = FailureLog.open(url, "run")
    task = Task("t", "do it")
    log._database.write("ALTER TABLE replay_log RENAME TO elsewhere", [()])
    with pytest.raises(StoreError, match="replay_log"):
        log.add(0, "failed", task, 0.0, [failed(task, "a")])
    log._database.write("ALTER TABLE elsewhere RENAME TO replay_log", [()])
    assert log._database.read("SELECT id FROM episodes") == []
    assert log.task("t") is None
    log.add(1, "failed", task, 0.0, [failed(task, "a")])
    assert [e.step for e in log.events()] == [1]
    log.close()


def test_lines_appear_in_the_order_of_their_keys(url: str) -> None:
    """Who asks for what came after a key must not miss a line that is committed later."""
    task = Task("t", "do it")
    seen: list[int] = []
    done = threading.Event()

    def watch() -> None:
        log = FailureLog.open(url, "watch")
        last = False
        while not last:
            last = done.is_set()
            seen.extend(e.key for e in log.events(after=seen[-1] if seen else 0))
        log.close()

    def write(name: str) -> None:
        log = FailureLog.open(url, name)
        for step in range(20):
            log.add(step, "failed", task, 0.0, [failed(task, f"{name}-{step}")])
        log.close()

    FailureLog.open(url, "first").close()
    watcher = threading.Thread(target=watch)
    writers = [threading.Thread(target=write, args=(f"w{n}",)) for n in range(4)]
    for thread in [watcher, *writers]:
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    watcher.join()
    assert len(seen) == 80
    assert seen == sorted(seen)


def test_a_server_that_comes_back_is_gone_on_with(url: str, server: Server) -> None:
    log = FailureLog.open(url, "run")
    task = Task("t", "do it")
    log.add(0, "failed", task, 0.0, [failed(task, "a")])
    server.stop("immediate")
    back = threading.Timer(1.5, server.start)
    back.start()
    log.add(1, "tried", task, 0.0, [failed(task, "b")])
    assert [e.step for e in log.events()] == [0, 1]
    back.join()
    log.close()


def test_a_server_that_stays_away_is_named_without_the_password(
    url: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_module, "PATIENCE", 0.5)
    log = FailureLog.open(url, "run")
    server.stop()
    try:
        with pytest.raises(StoreError) as lost:
            log.events()
        with pytest.raises(StoreError) as refused:
            PostgresDatabase(url)
    finally:
        server.start()
    for error in (lost, refused):
        said = str(error.value)
        assert "postgresql://agent@/postgres" in said
        assert "secret" not in said
        assert "see that the server runs" in said
    assert log.events() == []
    log.close()


def test_without_psycopg_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ConfigError, match=r"agentrl\[postgres\]"):
        FailureLog.open("postgresql://host/name", "run")
