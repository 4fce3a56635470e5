"""One SQLite connection, shared by threads through a lock, with readable errors."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from agentrl.store.errors import StoreError, readable_errors
from agentrl.store.schema import TABLES, VERSION


class Database:
    """`run.db`: write-ahead log, every commit synced to disk.

    Any thread may call; a lock orders them. SQLite releases the interpreter while it works, so an
    event loop stays free when it calls through `asyncio.to_thread`.

    Attributes:
        version: of its schema; older ones get the newer tables when they are opened for writing.
    """

    def __init__(self, path: Path, *, read_only: bool) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._depth = 0
        with readable_errors(path, "opening the run's database"):
            self._connection = self._connect(read_only)
            try:
                self._prepare(read_only)
            except BaseException:
                self._connection.close()
                raise

    def _connect(self, read_only: bool) -> sqlite3.Connection:
        mode = "ro" if read_only else "rwc"
        connection = sqlite3.connect(
            f"file:{quote(str(self.path.absolute()))}?mode={mode}",
            uri=True,
            timeout=60.0,
            isolation_level=None,
            check_same_thread=False,
        )
        connection.row_factory = sqlite3.Row
        return connection

    def _prepare(self, read_only: bool) -> None:
        execute = self._connection.execute
        if not read_only:
            execute("PRAGMA journal_mode = WAL")
            execute("PRAGMA synchronous = FULL")
            execute("PRAGMA foreign_keys = ON")
            # A full disk must fail a statement of ours, not a temporary file of SQLite's.
            execute("PRAGMA temp_store = MEMORY")
            # The log holds everything twice until it is folded in; a run that died left it long.
            execute("PRAGMA journal_size_limit = 16777216")
            with contextlib.suppress(sqlite3.OperationalError):
                execute("PRAGMA wal_checkpoint(TRUNCATE)")
        version = execute("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            raise StoreError(
                f"this run was written by a newer agentrl (schema {version}, known: {VERSION})",
                where=str(self.path),
                fix="upgrade agentrl",
            )
        self.version = version if read_only else VERSION
        if version < VERSION and not read_only:
            with self.transaction():
                for statement in filter(str.strip, TABLES.split(";")):
                    execute(statement)
                execute(f"PRAGMA user_version = {VERSION}")
        elif version == 0:  # nobody has begun it
            raise StoreError("the run has no tables yet", where=str(self.path))

    def _execute(self, sql: str, row: tuple[Any, ...] = ()) -> sqlite3.Cursor:
        with readable_errors(self.path, "writing to the run's database"):
            return self._connection.execute(sql, row)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; a transaction inside another is part of it."""
        with self._lock:
            if self._depth == 0:
                self._execute("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield
                if self._depth == 1:
                    self._execute("COMMIT")
            except BaseException:
                # SQLite may have rolled back by itself (disk full does).
                if self._depth == 1 and self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            finally:
                self._depth -= 1

    def write(self, sql: str, rows: Iterable[tuple[Any, ...]]) -> None:
        with self.transaction(), readable_errors(self.path, "writing to the run's database"):
            self._connection.executemany(sql, rows)

    def insert(self, sql: str, row: tuple[Any, ...]) -> int:
        """Insert one row inside a transaction, return its key if the statement asks for it."""
        with self._lock:
            found = self._execute(sql, row).fetchall()
        return int(found[0]["key"]) if found else 0

    def read(self, sql: str, values: Iterable[Any] = ()) -> list[sqlite3.Row]:
        with self._lock, readable_errors(self.path, "reading the run's database"):
            return self._connection.execute(sql, tuple(values)).fetchall()

    def close(self) -> None:
        with self._lock:
            self._connection.close()
