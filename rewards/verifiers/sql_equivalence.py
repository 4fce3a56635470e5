"""Do two queries mean the same, or did they only agree on one database?"""

from __future__ import annotations

import random
import sqlite3
from dataclasses import dataclass
from typing import Any, Literal

from agentrl.core import derive_seed
from agentrl.rewards.verifiers.sqlite import Database, Failed, multiset

Verdict = Literal["equivalent", "different", "unknown"]
_WORDS = ("a", "b", "c")


@dataclass(slots=True, frozen=True)
class Equivalence:
    """A verdict; `witness` is the SQL of a database on which the two differ."""

    verdict: Verdict
    witness: str = ""


def compare(
    first: str, second: str, schema: str, *, databases: int = 40, rows: int = 4, seed: int = 0
) -> Equivalence:
    """Compare two queries over a schema.

    "equivalent": sqlglot brings both to one canonical form. "different": proved by a small random
    database, that respects keys and constraints, on which the results differ as multisets.
    "unknown": neither; the paper counts it as equivalent.

    Args:
        schema: the CREATE TABLE statements (INSERTs are ignored).
        databases: how many to try; each has up to `rows` rows a table.
    """
    if _canonical(first, schema) == _canonical(second, schema) is not None:
        return Equivalence("equivalent")
    literals = [*_literals(first), *_literals(second)]
    for attempt in range(databases):
        rng = random.Random(derive_seed(seed, "instance", attempt))
        script = _instance(schema, literals, rng.randint(1, rows), rng)
        database = Database(script, seconds=1.0)
        try:
            differ = multiset(database.run(first).rows) != multiset(database.run(second).rows)
        except Failed:
            continue
        finally:
            database.close()
        if differ:
            return Equivalence("different", script)
    return Equivalence("unknown")


def _canonical(sql: str, schema: str) -> str | None:
    """The query after sqlglot's optimiser; None when it cannot read it."""
    import sqlglot
    from sqlglot.optimizer import optimize

    try:
        tree = sqlglot.parse_one(sql, dialect="sqlite")
        return optimize(tree, schema=_columns(schema), dialect="sqlite").sql("sqlite")
    except Exception:  # noqa: BLE001  (boundary: text of a policy in a parser not made for it)
        return None


def _columns(schema: str) -> dict[str, dict[str, str]]:
    link = _empty(schema)
    try:
        return {
            table: {c[1]: c[2] or "TEXT" for c in _info(link, table)} for table in _tables(link)
        }
    finally:
        link.close()


def _literals(sql: str) -> list[Any]:
    """Constants of a query, numbers with their neighbours: where conditions change their mind."""
    import sqlglot
    from sqlglot import exp

    try:
        found = list(sqlglot.parse_one(sql, dialect="sqlite").find_all(exp.Literal))
    except Exception:  # noqa: BLE001  (as above)
        return []
    values: list[Any] = []
    for literal in found:
        if literal.is_string:
            values.append(literal.this)
        elif literal.this.isdigit():
            values += [int(literal.this) + d for d in (-1, 0, 1)]
    return values


def _empty(schema: str) -> sqlite3.Connection:
    """The tables without their rows."""
    link = sqlite3.connect(":memory:")
    link.executescript(schema)
    link.execute("PRAGMA foreign_keys = OFF")
    for table in _tables(link):
        link.execute(f"DELETE FROM {_quoted(table)}")
    link.commit()
    link.execute("PRAGMA foreign_keys = ON")
    return link


def _instance(schema: str, literals: list[Any], rows: int, rng: random.Random) -> str:
    """A random database as SQL; rows that break a constraint are left out."""
    link = _empty(schema)
    try:
        for table in _ordered(link):
            columns = _info(link, table)
            parents = {key[3]: (key[2], key[4]) for key in _keys(link, table)}
            places = ", ".join("?" for _ in columns)
            for number in range(rows):
                row = [_value(link, c, number, parents, literals, rng) for c in columns]
                try:
                    link.execute(f"INSERT INTO {_quoted(table)} VALUES ({places})", row)
                except sqlite3.IntegrityError:
                    continue
        link.commit()
        return "\n".join(link.iterdump())
    finally:
        link.close()


def _value(
    link: sqlite3.Connection,
    column: Any,
    number: int,
    parents: dict[str, tuple[str, str | None]],
    literals: list[Any],
    rng: random.Random,
) -> Any:
    _, name, kind, required, _, key = column
    if name in parents:
        table, target = parents[name]
        target = target or next(c[1] for c in _info(link, table) if c[5])
        known = link.execute(f"SELECT {_quoted(target)} FROM {_quoted(table)}").fetchall()
        return rng.choice(known)[0] if known else None
    if not required and not key and rng.random() < 0.15:
        return None
    is_text = "CHAR" in kind.upper() or "TEXT" in kind.upper() or not kind
    if key:
        return f"k{number}" if is_text else number + 1
    fitting = [v for v in literals if isinstance(v, str) == is_text]
    if fitting and rng.random() < 0.6:
        return rng.choice(fitting)
    return rng.choice(_WORDS) if is_text else rng.randint(0, 3)


def _tables(link: sqlite3.Connection) -> list[str]:
    found = link.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    )
    return [name for (name,) in found]


def _ordered(link: sqlite3.Connection) -> list[str]:
    """Tables with those first that others refer to."""
    left = {t: {key[2] for key in _keys(link, t)} - {t} for t in _tables(link)}
    order: list[str] = []
    while left:
        ready = [t for t, needs in left.items() if not needs - set(order)] or [next(iter(left))]
        order += ready
        left = {t: needs for t, needs in left.items() if t not in ready}
    return order


def _info(link: sqlite3.Connection, table: str) -> list[Any]:
    return link.execute(f"PRAGMA table_info({_quoted(table)})").fetchall()


def _keys(link: sqlite3.Connection, table: str) -> list[Any]:
    return link.execute(f"PRAGMA foreign_key_list({_quoted(table)})").fetchall()


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
