"""A PostgreSQL database that takes the place of a SQLite file which machines cannot share."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from agentrl.core import ConfigError
from agentrl.store.errors import StoreError
from agentrl.store.schema import TABLES, VERSION

if TYPE_CHECKING:
    from psycopg import Connection

PATIENCE = 30.0
"""Seconds for which a server that went away is waited for."""
_WRITERS = 0x61676E74  # names the lock; any number that nobody else on the server takes
_TYPES = {
    "INTEGER PRIMARY KEY AUTOINCREMENT": "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
    " WITHOUT ROWID": "",
    "INTEGER": "BIGINT",
    "REAL": "DOUBLE PRECISION",
    "BLOB": "BYTEA",
}


class PostgresDatabase:
    """The tables of `Database`, with its methods, on a server. Needs `agentrl[postgres]`.

    Transactions of all runs come one after another, as in SQLite, so that keys are in the order in
    which lines can be seen. A connection that was lost between two transactions is made anew.

    Args:
        url: `postgresql://user@host/name`; what it leaves out is taken from the environment as
            libpq does (PGPASSWORD, ~/.pgpass).

    Raises:
        ConfigError: psycopg is missing.
        StoreError: the server cannot be reached or refuses.
    """

    version = VERSION

    def __init__(self, url: str) -> None:
        self._url, self._where = url, _without_password(url)
        self._lock = threading.RLock()
        self._depth = 0
        with self._readable("connecting to the database"):
            self._connection = self._connect()
        with self.transaction():
            for statement in filter(str.strip, _tables().split(";")):
                self._run(statement)

    def _connect(self) -> Connection[dict[str, Any]]:
        import psycopg
        from psycopg.rows import dict_row

        return psycopg.connect(self._url, autocommit=True, row_factory=dict_row, connect_timeout=10)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; a transaction inside another is part of it."""
        with self._lock:
            self._depth += 1
            try:
                if self._depth == 1:
                    with self._readable("beginning to write"):
                        self._patiently(f"BEGIN; SELECT pg_advisory_xact_lock({_WRITERS})")
                yield
                if self._depth == 1:
                    self._run("COMMIT")
            except BaseException:
                if self._depth == 1 and not self._connection.closed:
                    self._connection.rollback()
                raise
            finally:
                self._depth -= 1

    def write(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        stored = [_storable(row) for row in rows]
        with self.transaction(), self._readable("writing"), self._connection.cursor() as cursor:
            cursor.executemany(_numbered(sql), stored)

    def insert(self, sql: str, row: Sequence[Any]) -> int:
        """Insert one row inside a transaction, return its key if the statement asks for it."""
        found = self._run(sql, row)
        return int(found[0]["key"]) if found else 0

    def read(self, sql: str, values: Iterable[Any] = ()) -> list[dict[str, Any]]:
        with self._lock, self._readable("reading"):
            if self._depth:
                return self._run(sql, tuple(values))
            return self._patiently(sql, tuple(values))

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def _run(self, sql: str, row: Sequence[Any] = ()) -> list[dict[str, Any]]:
        with self._lock, self._readable("writing"):
            # Without values the server takes several statements at once.
            cursor = self._connection.execute(_numbered(sql), _storable(row) if row else None)
            return cursor.fetchall() if cursor.description else []

    def _patiently(self, sql: str, row: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Outside a transaction: once more over a new connection, if this one turns out lost."""
        from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_exponential

        tries = Retrying(
            retry=retry_if_exception(lambda _: self._connection.closed),
            stop=stop_after_delay(PATIENCE),
            wait=wait_exponential(0.1, max=5),
            reraise=True,
        )
        for attempt in tries:
            with attempt:
                if self._connection.closed:
                    self._connection = self._connect()
                cursor = self._connection.execute(_numbered(sql), _storable(row) if row else None)
                return cursor.fetchall() if cursor.description else []
        raise AssertionError("tenacity raises when it gives up")

    @contextmanager
    def _readable(self, doing: str) -> Iterator[None]:
        """Turn psycopg's errors into `StoreError`, without the password."""
        try:
            import psycopg
        except ImportError as error:
            raise ConfigError(
                "PostgreSQL needs psycopg, which is not installed",
                where=self._where,
                fix="pip install 'agentrl[postgres]'",
            ) from error
        try:
            yield
        except psycopg.Error as error:
            raise StoreError(
                f"{doing} failed: {str(error).strip() or type(error).__name__}",
                where=self._where,
                fix="see that the server runs and lets this user in, then run again with --resume",
            ) from error


def _tables() -> str:
    tables = TABLES
    for lite, full in _TYPES.items():
        tables = tables.replace(lite, full)
    return tables


def _numbered(sql: str) -> Any:
    return sql.replace("?", "%s")


def _storable(row: Sequence[Any]) -> list[Any]:
    """Text without the character that PostgreSQL cannot hold."""
    return [value.replace("\0", "\\x00") if isinstance(value, str) else value for value in row]


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    place = f"{user.partition(':')[0]}@{host}" if user else host
    return urlunsplit((parts.scheme, place, parts.path, "", ""))
