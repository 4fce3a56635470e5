"""SQL against a reference query: by execution, and by equivalence of the queries."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from agentrl.core import Check, Score, TaskFileError
from agentrl.rewards.verifiers.base import Item, verdict
from agentrl.rewards.verifiers.sql_equivalence import compare
from agentrl.rewards.verifiers.sqlite import Database, Failed, same_rows

_LONGEST = 10_000


@dataclass(slots=True)
class Sql:
    """Does a query return what the reference query does (ReViSQL, paper 5)?

    Reference: {"query": SQL, "database": PATH or "schema": script} (also a list of either, so
    that a query which is right by accident on one database fails on another). Rows are compared
    as multisets, in order when the reference orders them; column names do not matter.

    1 when all databases agree. With a `coincidence` under 1, a query that agrees but is another
    one, as a small random database of the first schema shows, gets that (in the paper 0.8).

    Runs on a read-only connection in this process: SQLite's authorizer refuses everything but
    reading, and a query that takes over `seconds` is ended and wrong.
    """

    seconds: float = 5.0
    coincidence: float = 1.0
    name: str = "sql"

    async def verify(self, item: Item) -> Score:
        if len(item.answer) > _LONGEST:
            return verdict(False, f"a query of {len(item.answer)} characters")
        return await asyncio.to_thread(self._verify, item.answer, item.reference)

    def _verify(self, query: str, reference: dict[str, Any]) -> Score:
        gold = str(reference["query"])
        checks = []
        for number, open_database in enumerate(_databases(reference, self.seconds)):
            try:
                database = open_database()
            except TaskFileError as error:
                return Score(abstained=True, evidence=str(error))
            try:
                check = _compared(database, query, gold, number)
            except Failed as error:
                return Score(abstained=True, evidence=f"the reference does not run: {error}")
            finally:
                database.close()
            checks.append(check)
        right = all(check.passed for check in checks)
        schemas = _list(reference.get("schema"))
        if not right or self.coincidence == 1.0 or not schemas:
            return Score(float(right), checks)
        found = compare(gold, query, str(schemas[0])).verdict
        same = found != "different"
        checks.append(Check("equivalent", float(same), same, found))
        return Score(1.0 if same else self.coincidence, checks)


def _compared(database: Database, query: str, gold: str, number: int) -> Check:
    """Whether both return the same rows. Raises Failed when the reference does not run."""
    wanted = database.run(gold)
    try:
        given = database.run(query)
    except Failed as error:
        return Check(f"database/{number}", 0.0, False, f"does not run: {error}")
    same = not given.cut and same_rows(given.rows, wanted.rows, ordered=is_ordered(gold))
    said = f"{len(given.rows)} rows, reference {len(wanted.rows)}"
    return Check(f"database/{number}", float(same), same, said)


def _databases(reference: dict[str, Any], seconds: float) -> Iterator[Callable[[], Database]]:
    files, schemas = _list(reference.get("database")), _list(reference.get("schema"))
    for path in files:
        yield partial(Database, path=Path(path), seconds=seconds)
    for script in schemas if files or schemas else [""]:
        yield partial(Database, script, seconds=seconds)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def is_ordered(query: str) -> bool:
    """Whether the outermost query has an ORDER BY."""
    import sqlglot
    from sqlglot.errors import SqlglotError

    try:
        return sqlglot.parse_one(query, read="sqlite").args.get("order") is not None
    except SqlglotError:
        return "order by" in query.lower()
