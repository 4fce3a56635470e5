"""The run directory: what a run was told, what it did, and where to go on from.

run.yaml      the resolved configuration
run.db        episodes, metrics, failures (SQLite)
run.lock      held by the process that writes
checkpoints/  see `agentrl.store.checkpoints`
plots/
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from agentrl.core import Episode, Status, Task
from agentrl.store.checkpoints import Checkpoint, Checkpoints
from agentrl.store.database import Database
from agentrl.store.episodes import encode_episode, read_episode, where, write_encoded
from agentrl.store.errors import StoreError, readable_errors
from agentrl.store.failures import FailureLog, new_run_name
from agentrl.store.files import WriterLock, write_atomic
from agentrl.store.records import column

if TYPE_CHECKING:
    import torch


@dataclass(slots=True, frozen=True)
class EpisodeSummary:
    """One line of an episode list. `reward` is None when it was not judged."""

    id: str
    step: int
    split: str
    task: str
    status: Status
    cause: str
    source: str
    reward: float | None
    turns: int
    tokens: int


@dataclass(slots=True, frozen=True)
class Failure:
    """A task whose whole group failed, and the ids of that group's episodes."""

    step: int
    task: str
    episodes: list[str]


class RunStore:
    """Everything one run keeps on disk.

    Methods may be called from any thread. They wait for the disk: from an event loop call them
    through `asyncio.to_thread`. All raise `StoreError`; a write that failed changed nothing.
    """

    def __init__(self, directory: Path, *, read_only: bool) -> None:
        self.directory = directory
        self.plots = directory / "plots"
        self.checkpoints = Checkpoints(directory / "checkpoints")
        self._lock = None if read_only else WriterLock(directory)
        try:
            self._database = Database(directory / "run.db", read_only=read_only)
        except BaseException:
            if self._lock:
                self._lock.close()
            raise
        if not read_only:
            self.checkpoints.clean()

    @classmethod
    def create(cls, directory: str | Path, config: Mapping[str, Any]) -> RunStore:
        """Make a run directory and open it for writing.

        Args:
            directory: made with its parents; refused when it already holds a run.
            config: the resolved configuration, JSON-able.
        """
        import yaml

        directory = Path(directory)
        if cls.exists(directory):
            raise StoreError(
                "this directory already holds a run",
                where=str(directory),
                fix="go on with it (--resume), or give another directory with run.dir=...",
            )
        with readable_errors(directory, "making the run directory"):
            (directory / "checkpoints").mkdir(parents=True, exist_ok=True)
            (directory / "plots").mkdir(exist_ok=True)
            text = yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)
            write_atomic(directory / "run.yaml", text.encode("utf-8"))
        return cls(directory, read_only=False)

    @classmethod
    def open(cls, directory: str | Path, *, read_only: bool = False) -> RunStore:
        """Open a run; to look at one that is being written, open it `read_only`."""
        directory = Path(directory)
        if not cls.exists(directory):
            raise StoreError(
                "this is not a run directory (it has no run.yaml)",
                where=str(directory),
                fix="give the directory that `agentrl train` printed (run.dir of the run file)",
            )
        with readable_errors(directory, "opening the run"):
            return cls(directory, read_only=read_only)

    @staticmethod
    def exists(directory: str | Path) -> bool:
        return (Path(directory) / "run.yaml").is_file()

    @property
    def config(self) -> dict[str, Any]:
        """The configuration that the run was created with."""
        import yaml

        with readable_errors(self.directory, "reading run.yaml"):
            return yaml.safe_load((self.directory / "run.yaml").read_text("utf-8"))

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything written inside is stored together or not at all.

        Keep it short, and inside one thread: other threads' writes wait for it.
        """
        with self._database.transaction():
            yield

    def set_meta(self, key: str, value: Any) -> None:
        """Keep a JSON-able value under a name."""
        self._database.write("REPLACE INTO meta VALUES (?,?)", [(key, json.dumps(value))])

    def meta(self, key: str, default: Any = None) -> Any:
        rows = self._database.read("SELECT value FROM meta WHERE key = ?", (key,))
        return json.loads(rows[0]["value"]) if rows else default

    def add_episodes(self, step: int, split: str, episodes: Sequence[Episode]) -> None:
        """Store episodes as they are, all or none. `split` is a name such as train or eval."""
        encoded = [encode_episode(step, split, episode) for episode in episodes]
        with self._database.transaction():
            for item in encoded:
                write_encoded(self._database, item)

    def _rows(
        self, filters: Sequence[tuple[str, Any]], limit: int | None, newest: bool
    ) -> list[sqlite3.Row]:
        condition, values = where(filters)
        order = "DESC" if newest else "ASC"
        return self._database.read(
            f"SELECT * FROM episodes{condition} ORDER BY key {order} LIMIT ?",
            (*values, -1 if limit is None else limit),
        )

    def episodes(
        self,
        *,
        step: int | None = None,
        split: str | None = None,
        task: str | None = None,
        status: Status | None = None,
        id: str | None = None,
        limit: int | None = None,
        newest: bool = False,
    ) -> list[Episode]:
        """Episodes that match every filter given, in the order they were stored (or the newest
        first), equal bit for bit to what was stored."""
        filters = _filters(step, split, task, status, id)
        tasks: dict[str, Task] = {}
        rows = self._rows(filters, limit, newest)
        return [read_episode(self._database, row, tasks) for row in rows]

    def summaries(
        self,
        *,
        step: int | None = None,
        split: str | None = None,
        task: str | None = None,
        status: Status | None = None,
        id: str | None = None,
        limit: int | None = None,
        newest: bool = False,
    ) -> list[EpisodeSummary]:
        """As `episodes`, but only what a list shows; fast on runs of any size."""
        names = EpisodeSummary.__dataclass_fields__
        return [
            EpisodeSummary(**{n: row[n] for n in names} | {"status": Status(row["status"])})
            for row in self._rows(_filters(step, split, task, status, id), limit, newest)
        ]

    def add_metrics(self, step: int, metrics: Mapping[str, float]) -> None:
        """Store numbers by name; a name stored twice at a step keeps the last."""
        rows = [(step, name, float(value)) for name, value in metrics.items()]
        self._database.write("REPLACE INTO metrics VALUES (?,?,?)", rows)

    def metrics(self, prefix: str = "") -> dict[str, list[tuple[int, float]]]:
        """(step, value) series by name, for the metric of that name and all `prefix/...` or
        longer names that start with it."""
        rows = self._database.read(
            "SELECT name, step, value FROM metrics WHERE substr(name, 1, ?) = ?"
            " ORDER BY name, step",
            (len(prefix), prefix),
        )
        series: dict[str, list[tuple[int, float]]] = {}
        for row in rows:
            # SQLite stores NaN as NULL.
            value = float("nan") if row["value"] is None else row["value"]
            series.setdefault(row["name"], []).append((row["step"], value))
        return series

    def add_failure(self, step: int, task: str, episodes: Sequence[str]) -> None:
        """Remember that every episode of a task's group failed."""
        row = (step, column(task), json.dumps(list(episodes)))
        self._database.write("INSERT INTO failures (step, task, episodes) VALUES (?,?,?)", [row])

    def failures(self, task: str | None = None) -> list[Failure]:
        """Failed groups, oldest first."""
        condition, values = where([("task", task)])
        rows = self._database.read(f"SELECT * FROM failures{condition} ORDER BY key", values)
        return [Failure(r["step"], r["task"], json.loads(r["episodes"])) for r in rows]

    def failure_log(self, *, read_only: bool = False) -> FailureLog:
        """What became of the run's failed groups, see `FailureLog`."""
        return FailureLog(self._database, "" if read_only else self.name)

    @property
    def name(self) -> str:
        """This run's name among those that share a failure log; kept with the run."""
        name = self.meta("name")
        if name is None:
            name = new_run_name()
            self.set_meta("name", name)
        return str(name)

    def rewind(self, step: int, *, spare: str | None = None) -> None:
        """Forget everything after `step`: what a killed run did beyond its last checkpoint.

        Metrics whose name starts with `spare` stay: those that count other steps than the run's.
        """
        with self._database.transaction():
            for table in ("episodes", "failures", "replay_log"):
                self._database.write(f"DELETE FROM {table} WHERE step > ?", [(step,)])
            self._database.write(
                "DELETE FROM metrics WHERE step > ? AND (? IS NULL OR substr(name, 1, ?) <> ?)",
                [(step, spare, len(spare or ""), spare)],
            )
        self.checkpoints.drop_after(step)

    def save_checkpoint(
        self,
        step: int,
        tensors: Mapping[str, torch.Tensor],
        state: Mapping[str, Any],
        *,
        keep: int = 3,
    ) -> Path:
        """See `Checkpoints.save`."""
        return self.checkpoints.save(step, tensors, state, keep=keep)

    def load_checkpoint(
        self, step: int | Literal["latest"] = "latest", *, fall_back: bool = False
    ) -> Checkpoint:
        """See `Checkpoints.load`."""
        return self.checkpoints.load(step, fall_back=fall_back)

    def close(self) -> None:
        """Flush and release the run; safe to call twice."""
        self._database.close()
        if self._lock:
            self._lock.close()

    def __enter__(self) -> RunStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _filters(
    step: int | None, split: str | None, task: str | None, status: Status | None, id: str | None
) -> list[tuple[str, Any]]:
    return [
        ("step", step),
        ("split", split),
        ("task", None if task is None else column(task)),
        ("status", None if status is None else str(status)),
        ("id", None if id is None else column(id)),
    ]
