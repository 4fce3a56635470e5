"""A SQLite database that may be read and nothing else, and results that are compared."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentrl.core import TaskFileError

Rows = list[tuple[Any, ...]]
_ALLOWED = {
    sqlite3.SQLITE_SELECT,
    sqlite3.SQLITE_READ,
    sqlite3.SQLITE_FUNCTION,
    sqlite3.SQLITE_RECURSIVE,
}
_FORBIDDEN_FUNCTIONS = {"load_extension", "readfile", "writefile", "edit", "fts3_tokenizer"}
# One value of a result; a policy may ask for zeroblob(1e9).
_MAX_VALUE = 1_000_000
_PROGRESS_STEPS = 10_000


class Failed(Exception):
    """A statement that did not run; the message is for the policy."""


@dataclass(slots=True)
class Result:
    columns: list[str]
    rows: Rows
    cut: bool = False


class Database:
    """Runs SELECT statements under limits on time, rows and the size of values.

    Args:
        script: SQL that makes the database, in memory.
        path: or a SQLite file, opened read-only.
        seconds: of one statement.
        max_rows: of one result that is compared.

    Raises:
        TaskFileError: the script does not run, or the file is not there.
    """

    def __init__(
        self,
        script: str | None = None,
        *,
        path: Path | None = None,
        seconds: float = 5.0,
        max_rows: int = 100_000,
    ) -> None:
        self._seconds, self._max_rows = seconds, max_rows
        self._lock = threading.Lock()
        try:
            if path is not None:
                uri = f"{path.absolute().as_uri()}?mode=ro"
                self._link = sqlite3.connect(uri, uri=True, check_same_thread=False)
            else:
                self._link = sqlite3.connect(":memory:", check_same_thread=False)
                self._link.executescript(script or "")
        except sqlite3.Error as error:
            raise TaskFileError(
                f"the database cannot be made: {error}",
                where=str(path or "payload.schema"),
                fix="check the SQL of the schema, or the path of the file",
            ) from error
        self._link.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_VALUE)
        self._link.set_authorizer(_authorize)

    @classmethod
    def of(cls, payload: Mapping[str, Any], folder: str = "") -> Database:
        """The database of a task: `schema` (SQL) or `database` (a file beside the task file)."""
        if "database" in payload:
            return cls(path=Path(folder) / payload["database"])
        return cls(payload["schema"])

    def run(self, sql: str, limit: int | None = None) -> Result:
        """The result of one SELECT, at most `limit` rows.

        Raises:
            Failed: it is no single SELECT, is wrong, or takes too long.
        """
        with self._lock, self._deadline():
            try:
                cursor = self._link.execute(sql)
                if cursor.description is None:
                    raise Failed("only SELECT statements run here")
                most = self._max_rows if limit is None else limit
                rows = cursor.fetchmany(most + 1)
            except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError) as error:
                raise Failed(_reason(error)) from None
        return Result([c[0] for c in cursor.description], rows[:most], len(rows) > most)

    @contextmanager
    def _deadline(self) -> Iterator[None]:
        end = time.monotonic() + self._seconds
        self._link.set_progress_handler(lambda: time.monotonic() > end, _PROGRESS_STEPS)
        try:
            yield
        finally:
            self._link.set_progress_handler(None, 0)

    def close(self) -> None:
        self._link.close()


def _authorize(action: int, first: str | None, second: str | None, *_: object) -> int:
    if action == sqlite3.SQLITE_FUNCTION and (second or "").lower() in _FORBIDDEN_FUNCTIONS:
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK if action in _ALLOWED else sqlite3.SQLITE_DENY


def _reason(error: Exception) -> str:
    text = str(error)
    if "interrupted" in text:
        return "the statement took too long and was stopped"
    if "not authorized" in text or "prohibited" in text:
        return "only reading is allowed here"
    return text


def same_rows(first: Rows, second: Rows, *, ordered: bool) -> bool:
    """Equal as lists, or as multisets."""
    if ordered:
        return [_row(r) for r in first] == [_row(r) for r in second]
    return multiset(first) == multiset(second)


def multiset(rows: Rows) -> Counter[tuple[Any, ...]]:
    """Rows without their order; numbers are equal up to 1e-6, whatever their type."""
    return Counter(_row(row) for row in rows)


def _row(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(_plain(value) for value in row)


def _plain(value: Any) -> Any:
    return round(float(value), 6) if isinstance(value, int | float) else value


def vote(candidates: Sequence[str], database: Database) -> str | None:
    """The first candidate of the largest class that agree in their result; None: none runs."""
    classes: dict[frozenset[tuple[Any, int]], list[str]] = {}
    for sql in candidates:
        try:
            rows = database.run(sql).rows
        except Failed:
            continue
        classes.setdefault(frozenset(multiset(rows).items()), []).append(sql)
    return max(classes.values(), key=len)[0] if classes else None
