"""What became of groups that failed: a log in the run's database, or in one that runs share.

A line is one group: `failed` (all of it failed), or `tried` (the task had failed before and was
sampled again). Who is still waiting is computed from the lines, so that a run that is killed
and goes on from a checkpoint only has to forget the lines after it.
"""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlparse

from agentrl.core import ConfigError, Episode, Task
from agentrl.store.database import Database
from agentrl.store.episodes import encode_episode, write_encoded
from agentrl.store.postgres import PostgresDatabase
from agentrl.store.records import column, dump, load_task

Event = Literal["failed", "tried"]
_FILES, _SERVERS = ("", "file", "sqlite"), ("postgresql", "postgres")


@dataclass(slots=True, frozen=True)
class FailureEvent:
    """One line of the log.

    Attributes:
        key: its number; later lines have higher ones.
        run: which run it is of.
        content: equal for tasks that say the same, whatever their ids.
        solved: share of the group's judged episodes that did the task; reward: their mean.
        episodes: ids of the group's episodes.
    """

    key: int
    run: str
    step: int
    event: Event
    task: str
    content: str
    solved: float
    reward: float
    episodes: tuple[str, ...]


class FailureLog:
    """Methods may be called from any thread and raise `StoreError`."""

    def __init__(
        self, database: Database | PostgresDatabase, run: str, *, shared: bool = False
    ) -> None:
        """
        Args:
            run: this run's name among those that write here.
            shared: the database is not the run's own, so episodes are copied into it.
        """
        self._database, self.run, self.shared = database, run, shared

    @classmethod
    def open(cls, url: str, run: str) -> FailureLog:
        """A log that several runs share: a path, `file:///path`, `sqlite:///path`, or
        `postgresql://user@host/name` for runs on several machines.

        Raises:
            ConfigError: any other kind of URL.
        """
        if urlparse(url).scheme in _SERVERS:
            return cls(PostgresDatabase(url), run, shared=True)
        path = path_of(url)
        path.parent.mkdir(parents=True, exist_ok=True)
        return cls(Database(path, read_only=False), run, shared=True)

    def add(
        self, step: int, event: Event, task: Task, solved: float, episodes: Sequence[Episode]
    ) -> None:
        """Write one line, and for a shared log the task and the group's episodes."""
        encoded = [encode_episode(step, self.run, e) for e in episodes] if self.shared else []
        rewards = [e.reward for e in episodes if e.judged]
        ids = json.dumps([e.id for e in episodes])
        record = dump(task)
        with self._database.transaction():
            if self.shared:
                key = hashlib.blake2b(record.encode(), digest_size=16).hexdigest()
                self._database.insert(
                    "INSERT INTO tasks VALUES (?,?,?) ON CONFLICT DO NOTHING",
                    (key, column(task.id), record),
                )
            for item in encoded:
                write_encoded(self._database, item)
            self._database.insert(
                "INSERT INTO replay_log (run, step, event, task, content, solved, reward, episodes,"
                " created) VALUES (?,?,?,?,?,?,?,?,?)",
                (
                    self.run,
                    step,
                    event,
                    column(task.id),
                    content_of(task),
                    float(solved),
                    sum(rewards) / len(rewards) if rewards else 0.0,
                    ids,
                    time.time(),
                ),
            )

    def events(self, after: int = 0) -> list[FailureEvent]:
        """The lines after a key, in order; none of a run that was written before there were any."""
        if self._database.version < 2:
            return []
        rows = self._database.read("SELECT * FROM replay_log WHERE key > ? ORDER BY key", (after,))
        return [
            FailureEvent(
                r["key"],
                r["run"],
                r["step"],
                r["event"],
                r["task"],
                r["content"],
                r["solved"],
                r["reward"],
                tuple(json.loads(r["episodes"])),
            )
            for r in rows
        ]

    def task(self, id: str) -> Task | None:
        """The newest task of that id that is stored here."""
        rows = self._database.read(
            "SELECT tasks.record FROM tasks LEFT JOIN episodes ON task_hash = hash "
            "WHERE tasks.id = ? GROUP BY hash, tasks.record "
            "ORDER BY COALESCE(MAX(episodes.key), 0) DESC LIMIT 1",
            (column(id),),
        )
        return load_task(rows[0]["record"]) if rows else None

    def rewind(self, step: int) -> None:
        """Forget this run's lines after a step, and the episodes it copied here with them."""
        with self._database.transaction():
            gone = "run = ? AND step > ?"
            self._database.write(f"DELETE FROM replay_log WHERE {gone}", [(self.run, step)])
            if self.shared:
                self._database.write(
                    "DELETE FROM episodes WHERE split = ? AND step > ?", [(self.run, step)]
                )

    def close(self) -> None:
        """Close a shared log; the run's own is closed with the run."""
        if self.shared:
            self._database.close()


def content_of(task: Task) -> str:
    """A fingerprint of what is to be done: equal for tasks that differ in id or metadata alone."""
    said = dump([task.prompt, task.environment, task.payload, task.reference])
    return hashlib.blake2b(said.encode(), digest_size=16).hexdigest()


def path_of(url: str) -> Path:
    """The file of a shared log's URL. Raises ConfigError."""
    parts = urlparse(url)
    if parts.scheme not in _FILES or parts.netloc not in ("", "localhost"):
        raise ConfigError(
            f"{url!r} is not a place for shared failures",
            where="replay.url",
            fix="give the path of a SQLite file that all runs can reach (/shared/failures.db, "
            "file:///shared/failures.db or sqlite:///shared/failures.db) or a database server: "
            "postgresql://user@host/name",
        )
    path = unquote(parts.path)
    return Path("/" + path.lstrip("/") if parts.scheme else path)


def new_run_name() -> str:
    return uuid.uuid4().hex[:12]
