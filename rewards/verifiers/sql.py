"""SQL against a reference query: by execution, and by equivalence of the queries."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentrl.core import Check, Score
from agentrl.rewards.verifiers.base import Item, verdict

_LONGEST = 10_000
_MOST_ROWS = 100_000


class SqlError(Exception):
    """A query that does not run: its own fault."""


@dataclass(slots=True)
class Sql:
    """Does a query return what the reference query does (ReViSQL, paper 5)?

    Reference: {"query": SQL, "database": PATH or "schema": script} (also a list of either, so
    that a query which is right by accident on one database fails on another). Rows are compared
    as multisets, in order when the reference orders them; column names do not matter.

    1 when all databases agree. With `equivalence`, a query that agrees but is not provably
    the same (sqlglot's canonical form) gets `unproven`.

    Runs on a read-only connection in this process: SQLite's authorizer refuses everything but
    reading, and a query that takes over `seconds` is ended and wrong.
    """

    seconds: float = 5.0
    unproven: float = 1.0
    equivalence: bool = False
    name: str = "sql"

    async def verify(self, item: Item) -> Score:
        if len(item.answer) > _LONGEST:
            return verdict(False, f"a query of {len(item.answer)} characters")
        return await asyncio.to_thread(self._verify, item.answer, item.reference)

    def _verify(self, query: str, reference: dict[str, Any]) -> Score:
        gold = str(reference["query"])
        checks = []
        for number, source in enumerate(_databases(reference)):
            try:
                wanted = run_query(source, gold, self.seconds)
            except SqlError as error:
                return Score(abstained=True, evidence=f"the reference does not run: {error}")
            try:
                given = run_query(source, query, self.seconds)
            except SqlError as error:
                return verdict(False, f"does not run: {error}")
            same = same_rows(given, wanted, ordered=is_ordered(gold))
            said = f"{len(given)} rows, reference {len(wanted)}"
            checks.append(Check(f"database/{number}", float(same), same, said))
        right = all(check.passed for check in checks)
        if not right or not self.equivalence:
            return Score(float(right), checks)
        proven = equivalent(query, gold)
        checks.append(Check("equivalent", float(proven), proven, "canonical forms compared"))
        return Score(1.0 if proven else self.unproven, checks)


def _databases(reference: dict[str, Any]) -> list[dict[str, str]]:
    found = [
        {key: str(one)}
        for key in ("database", "schema")
        for one in _list(reference.get(key))
        if one is not None
    ]
    return found or [{"schema": ""}]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


_READING = {
    sqlite3.SQLITE_SELECT,
    sqlite3.SQLITE_READ,
    sqlite3.SQLITE_FUNCTION,
    sqlite3.SQLITE_RECURSIVE,
}
_FORBIDDEN = {"load_extension", "readfile", "writefile", "fts3_tokenizer"}


def run_query(source: dict[str, str], query: str, seconds: float) -> list[tuple[Any, ...]]:
    """The rows of one reading statement. Raises SqlError."""
    if "database" in source:
        uri = f"{Path(source['database']).absolute().as_uri()}?mode=ro"
        connection = sqlite3.connect(uri, uri=True, check_same_thread=False)
    else:
        connection = sqlite3.connect(":memory:", check_same_thread=False)
    try:
        connection.text_factory = lambda data: data.decode("utf-8", "replace")
        connection.executescript(source.get("schema", ""))
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 1 << 24)
        deadline = time.monotonic() + seconds
        connection.set_authorizer(_only_reading)
        connection.set_progress_handler(lambda: time.monotonic() > deadline, 10_000)
        rows = connection.execute(query).fetchmany(_MOST_ROWS + 1)
        if len(rows) > _MOST_ROWS:
            raise SqlError(f"more than {_MOST_ROWS} rows")
        return rows
    except (sqlite3.Error, sqlite3.Warning, MemoryError, ValueError, OverflowError) as error:
        raise SqlError(str(error) or type(error).__name__) from error
    finally:
        connection.close()


def _only_reading(action: int, first: str | None, second: str | None, *_: str | None) -> int:
    allowed = action in _READING and (second or "").lower() not in _FORBIDDEN
    return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY


def same_rows(a: Sequence[tuple[Any, ...]], b: Sequence[tuple[Any, ...]], *, ordered: bool) -> bool:
    """Equal as multisets, or as lists; floats to nine significant digits."""
    first, second = [_row(r) for r in a], [_row(r) for r in b]
    return first == second if ordered else Counter(first) == Counter(second)


def _row(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(float(f"{v:.9g}") if isinstance(v, float) else v for v in row)


def is_ordered(query: str) -> bool:
    """Whether the outermost query has an ORDER BY."""
    import sqlglot
    from sqlglot.errors import SqlglotError

    try:
        return sqlglot.parse_one(query, read="sqlite").args.get("order") is not None
    except SqlglotError:
        return "order by" in query.lower()


def equivalent(query: str, reference: str) -> bool:
    """Whether two queries have one canonical form: sound, not complete."""
    import sqlglot
    from sqlglot.errors import SqlglotError
    from sqlglot.optimizer.normalize_identifiers import normalize_identifiers
    from sqlglot.optimizer.simplify import simplify

    try:
        forms = [
            simplify(normalize_identifiers(sqlglot.parse_one(q, read="sqlite"))).sql("sqlite")
            for q in (query, reference)
        ]
    except (SqlglotError, RecursionError):
        return False
    return forms[0] == forms[1]
