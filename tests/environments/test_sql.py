"""SQL: what the paper pays for, what a counterexample finds, and what a policy cannot do."""

from __future__ import annotations

import sqlite3
import time

import pytest
from small_kit import judged, play, said

from agentrl.core import Task, TaskFileError, ToolCall
from agentrl.environments.sql import (
    Database,
    Failed,
    SqlEnvironment,
    SqlReward,
    compare,
    corrupt,
    make_tasks,
    vote,
)
from agentrl.rewards.verifiers.sqlite import multiset

SCHEMA = "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT NOT NULL, n INTEGER);"
ROWS = "INSERT INTO t VALUES (1, 'a', 3), (2, 'b', 5), (3, 'c', NULL);"
TASK = Task(
    "q", "Which are above 4?", payload={"schema": SCHEMA + ROWS},
    reference={"sql": "SELECT name FROM t WHERE n > 4"},
)  # fmt: skip
NEED = "Requirement of external knowledge 1 (x)"
CHECKED = "Verification of external knowledge 1 (x)"


def solution(sql: str) -> str:
    return f"<solution>{sql}</solution>"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (solution("SELECT name FROM t WHERE n > 4"), 1.0),
        (solution("SELECT name FROM t WHERE n >= 5"), 1.0),
        (solution("SELECT 'b'"), 0.8),
        (solution("SELECT name FROM t WHERE id = 2"), 0.8),
        (solution("SELECT name FROM t"), 0.0),
        (solution("SELECT nome FROM t"), 0.0),
        (solution("DROP TABLE t"), 0.0),
        ("SELECT name FROM t WHERE n > 4", -1.0),
        (solution("") + solution(""), -1.0),
    ],
)
async def test_the_ladder(text, value):
    assert (await judged(SqlReward(), SqlEnvironment(), TASK, text)).value == pytest.approx(value)


async def test_a_solution_beside_a_call_is_malformed():
    turn = said(solution("SELECT 'b'"), ToolCall("query", {"sql": "SELECT 1"}))
    assert (await judged(SqlReward(), SqlEnvironment(), TASK, turn)).value == -1


@pytest.mark.parametrize(
    ("messages", "steps"),
    [
        ([NEED, "look", CHECKED + solution("SELECT 'b'")], [0, 0, 0.8]),
        ([NEED, "look", solution("SELECT 'b'")], [0, 0, 0.7]),
        (["look", "look", CHECKED + solution("SELECT 'b'")], [0, -0.1, 0.8]),
        (["look", solution("SELECT 'b'")], [0, 0.6]),
        ([NEED + solution("SELECT 'b'")], [0.8]),
        ([solution("SELECT 'b'")], [0.7]),
    ],
)
async def test_evidence_that_is_skipped_costs_a_tenth_where_it_was_due(messages, steps):
    payload = {**TASK.payload, "knowledge": ["above means n >"]}
    task = Task("q", "?", payload=payload, reference=TASK.reference)
    look = ToolCall("query", {"sql": "SELECT 1"})
    turns = [m if "<sol" in m else said(m, look) for m in messages]
    score = await judged(SqlReward(), SqlEnvironment(), task, *turns)
    assert score.steps == pytest.approx(steps)
    assert score.value == pytest.approx(sum(steps))


async def test_without_knowledge_nothing_is_charged():
    assert (await judged(SqlReward(), SqlEnvironment(), TASK, solution("SELECT 'b'"))).value == 0.8


async def test_turns_left_are_told_and_the_last_one_ends_it():
    look = [said("", ToolCall("query", {"sql": "SELECT id FROM t"})) for _ in range(3)]
    episode = await play(SqlEnvironment(max_turns=2), TASK, *look)
    assert len(episode.turns) == 2
    assert episode.turns[0].observations[0].content == "id\n1\n2\n3\n(1 turn left)"
    assert episode.outcome["grading"] == "malformed"


def test_a_difference_is_proved_by_a_database_that_keeps_the_constraints():
    found = compare("SELECT name FROM t WHERE n > 4", "SELECT name FROM t WHERE n > 3", SCHEMA)
    assert found.verdict == "different"
    link = sqlite3.connect(":memory:")
    link.executescript(found.witness)
    first = link.execute("SELECT name FROM t WHERE n > 4").fetchall()
    assert multiset(first) != multiset(link.execute("SELECT name FROM t WHERE n > 3").fetchall())


@pytest.mark.parametrize(
    ("first", "second", "verdict"),
    [
        ("SELECT name FROM t WHERE n > 4", "select t.name from t where (4 < t.n)", "equivalent"),
        ("SELECT name FROM t WHERE n > 4", "SELECT name FROM t WHERE NOT n <= 4", "unknown"),
        ("SELECT name FROM t", "SELECT DISTINCT name FROM t", "different"),
        ("SELECT COUNT(*) FROM t", "SELECT COUNT(n) FROM t", "different"),
        ("SELECT name FROM t", "this is not SQL (", "unknown"),
    ],
)
def test_equivalence(first, second, verdict):
    found = compare(first, second, SCHEMA).verdict
    assert found in ({verdict, "equivalent"} if verdict == "unknown" else {verdict})


def test_the_vote_goes_by_results_and_not_by_text():
    database = Database(SCHEMA + ROWS)
    assert vote(
        ["SELECT 1", "SELECT name FROM t WHERE n > 4", "SELECT 'b'", "nonsense"], database
    ) == ("SELECT name FROM t WHERE n > 4")
    assert vote(["nonsense"], database) is None


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM t",
        "ATTACH DATABASE '/tmp/stolen.db' AS s",
        "PRAGMA writable_schema = 1",
        "SELECT load_extension('x')",
        "SELECT length(zeroblob(2000000000))",
        "SELECT 1; SELECT 2",
        "",
        "SELECT * FROM sqlite_master WHERE " + "(" * 5000,
        "\ud800",
    ],
)
def test_a_policy_can_only_read(sql):
    database = Database(SCHEMA + ROWS)
    with pytest.raises(Failed):
        database.run(sql)
    assert len(database.run("SELECT * FROM t").rows) == 3


def test_an_endless_query_is_stopped():
    database = Database(SCHEMA, seconds=0.2)
    started = time.perf_counter()
    with pytest.raises(Failed, match="too long"):
        database.run(
            "WITH RECURSIVE x(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM x) SELECT sum(i) FROM x"
        )
    assert time.perf_counter() - started < 5


def test_a_file_is_opened_read_only(tmp_path):
    path = tmp_path / "shop.db"
    link = sqlite3.connect(path)
    link.executescript(SCHEMA + ROWS)
    link.close()
    before = path.read_bytes()
    database = Database.of({"database": "shop.db"}, str(tmp_path))
    assert database.run("SELECT COUNT(*) FROM t").rows == [(3,)]
    database.close()
    assert path.read_bytes() == before
    with pytest.raises(TaskFileError, match="cannot be made"):
        Database(path=tmp_path / "none.db")


async def test_a_task_with_a_broken_gold_query_is_told():
    broken = Task("b", "?", payload=TASK.payload, reference={"sql": "SELECT x FROM t"})
    with pytest.raises(TaskFileError, match="gold query does not run"):
        SqlEnvironment().reset(broken)


async def test_made_tasks_run_and_keep_their_knobs():
    for task in make_tasks(12, tables=3, conditions=3, knowledge=2, aggregate=True):
        score = await judged(
            SqlReward(), SqlEnvironment(), task,
            "".join(f"{w} of external knowledge {i} (ok)\n" for w in ("Requirement", "Verification")
                    for i in (1, 2)) + solution(task.reference["sql"]),
        )  # fmt: skip
        assert score.value == 1
        assert task.reference["sql"].count("JOIN") == 2
        assert task.reference["sql"].count(" AND ") == 4


def test_annotation_errors_are_planted_in_the_asked_share():
    tasks = list(make_tasks(40))
    noisy = corrupt(tasks, 0.3)
    changed = [a.reference != b.reference for a, b in zip(tasks, noisy, strict=True)]
    assert sum(changed) == 12 == sum(task.metadata["corrupted"] for task in noisy)
