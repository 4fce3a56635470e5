"""Text-to-SQL tasks over a small lending library, with gold queries."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from agentrl.core import ConfigError, Task, derive_seed

_TABLES = """\
CREATE TABLE author (id INTEGER PRIMARY KEY, name TEXT NOT NULL, country TEXT NOT NULL,
  born INTEGER NOT NULL);
CREATE TABLE book (id INTEGER PRIMARY KEY, title TEXT NOT NULL,
  author_id INTEGER NOT NULL REFERENCES author(id), year INTEGER NOT NULL, pages INTEGER NOT NULL,
  genre TEXT NOT NULL);
CREATE TABLE loan (id INTEGER PRIMARY KEY, book_id INTEGER NOT NULL REFERENCES book(id),
  member TEXT NOT NULL, days INTEGER NOT NULL);
"""
_COUNTRIES = ("Chile", "Ghana", "Japan", "Norway")
_GENRES = ("crime", "poetry", "travel")
_MEMBERS = ("Ada", "Ben", "Eve", "Kim")
_NAMES = ("Abara", "Berg", "Cruz", "Diaz", "Endo", "Falk", "Goto", "Hald")
_JOINS = (
    "author",
    "author JOIN book ON book.author_id = author.id",
    "author JOIN book ON book.author_id = author.id JOIN loan ON loan.book_id = book.id",
)
_LONG, _RECENT = "a long book has more than {} pages", "a recent book is from after {}"


def make_tasks(
    count: int,
    *,
    seed: int = 0,
    tables: int = 2,
    conditions: int = 1,
    knowledge: int = 0,
    aggregate: bool = False,
) -> Iterator[Task]:
    """Questions about authors, books and loans.

    Args:
        tables: joined, 1 to 3.
        conditions: of the WHERE clause, 0 to 3.
        knowledge: how many further conditions are told as external knowledge, 0 to 2 (2 tables).
        aggregate: ask for a number in the place of names.

    Raises:
        ConfigError: a knob is out of its range.
    """
    if not (1 <= tables <= 3 and 0 <= conditions <= 3 and 0 <= knowledge <= 2 * (tables > 1)):
        raise ConfigError(
            f"tables={tables}, conditions={conditions}, knowledge={knowledge}",
            fix="tables 1-3, conditions 0-3, knowledge 0-2 and only with two tables or more",
        )
    for i in range(count):
        rng = random.Random(derive_seed(seed, "sql", i))
        yield _task(f"sql-{seed}-{i}", rng, tables, conditions, knowledge, aggregate)


def _task(
    name: str, rng: random.Random, tables: int, conditions: int, knowledge: int, aggregate: bool
) -> Task:
    spoken, where = _conditions(rng, tables, conditions)
    pieces: list[str] = []
    for word, form, column, value in rng.sample(
        [
            ("long", _LONG, "book.pages", rng.randrange(100, 500, 50)),
            ("recent", _RECENT, "book.year", rng.randrange(1950, 2010, 10)),
        ],
        knowledge,
    ):
        spoken.append(f"with a {word} book")
        where.append(f"{column} > {value}")
        pieces.append(form.format(value))
    what = "How many different authors are there" if aggregate else "Name the different authors"
    select = "COUNT(DISTINCT author.id)" if aggregate else "DISTINCT author.name"
    question = f"{what} {' and '.join(spoken)}".strip() + ("?" if aggregate else ".")
    sql = f"SELECT {select} FROM {_JOINS[tables - 1]}"
    sql += f" WHERE {' AND '.join(where)}" if where else ""
    schema = _TABLES + _rows(rng)
    told = f"\nExternal knowledge: {'; '.join(pieces)}" if pieces else ""
    return Task(
        name,
        f"{_TABLES}\n{question}{told}",
        environment="sql",
        payload={"schema": schema, "knowledge": pieces},
        reference={"sql": sql},
        metadata={"tables": tables, "conditions": conditions, "aggregate": aggregate},
    )


def _conditions(rng: random.Random, tables: int, count: int) -> tuple[list[str], list[str]]:
    country, born = rng.choice(_COUNTRIES), rng.randrange(1900, 1990, 10)
    genre, member = rng.choice(_GENRES), rng.choice(_MEMBERS)
    known = [
        (f"from {country}", f"author.country = '{country}'"),
        (f"born after {born}", f"author.born > {born}"),
        (f"with a book of {genre}", f"book.genre = '{genre}'"),
        (f"with a book lent to {member}", f"loan.member = '{member}'"),
    ][: tables + 1]
    chosen = rng.sample(known, min(count, len(known)))
    return [spoken for spoken, _ in chosen], [sql for _, sql in chosen]


def _rows(rng: random.Random) -> str:
    lines = [
        f"INSERT INTO author VALUES ({i}, '{name}', '{rng.choice(_COUNTRIES)}', "
        f"{rng.randrange(1900, 1995)});"
        for i, name in enumerate(_NAMES, start=1)
    ]
    lines += [
        f"INSERT INTO book VALUES ({i}, 'Title {i}', {rng.randint(1, len(_NAMES))}, "
        f"{rng.randrange(1940, 2024)}, {rng.randrange(60, 600)}, '{rng.choice(_GENRES)}');"
        for i in range(1, 25)
    ]
    lines += [
        f"INSERT INTO loan VALUES ({i}, {rng.randint(1, 24)}, '{rng.choice(_MEMBERS)}', "
        f"{rng.randint(1, 40)});"
        for i in range(1, 31)
    ]
    return "\n".join(lines)


def corrupt(tasks: Sequence[Task], share: float, *, seed: int = 0) -> list[Task]:
    """The tasks with `share` of the gold queries taken from another one: annotation errors.

    The corrupted carry `metadata["corrupted"]`, so that the harm can be measured.
    """
    rng = random.Random(derive_seed(seed, "corrupt"))
    wrong = set(rng.sample(range(len(tasks)), round(share * len(tasks))))
    out = []
    for i, task in enumerate(tasks):
        others = [t.reference["sql"] for t in tasks if t.reference["sql"] != task.reference["sql"]]
        broken = i in wrong and bool(others)
        sql = rng.choice(others) if broken else task.reference["sql"]
        out.append(
            Task(
                task.id,
                task.prompt,
                task.environment,
                task.payload,
                {**task.reference, "sql": sql},
                {**task.metadata, "corrupted": broken},
            )
        )
    return out
