"""Paper 5, ReViSQL: the execution reward, what it overlooks, noise in the gold, and voting.

On generated questions: a query that merely lists the gold rows matches by coincidence and is found
out by a counterexample database; a rewritten gold query is not. With a share of gold queries
replaced, a policy that is always right loses that share. A vote by result beats a single query.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

from agentrl.core import Task, derive_seed
from agentrl.environments.sql import Database, SqlEnvironment, SqlReward, corrupt, make_tasks, vote
from agentrl.papers.kit.rollouts import converse, values
from agentrl.papers.registry import Measured
from agentrl.rewards.verifiers.sqlite import multiset

CLAIM = (
    "Coincidental matches are told from the gold query (0.8 against 1.0); 30% wrong gold costs a "
    "right policy about 30% of its reward; voting by result beats one query."
)
TASKS, NOISE, RIGHT, VOTES = 20, 0.3, 0.6, 9


def run(seeds: Sequence[int]) -> Measured:
    return asyncio.run(_run(seeds))


async def _run(seeds: Sequence[int]) -> Measured:
    rows: list[list[str | int | float]] = []
    passed = True
    for seed in seeds:
        tasks = list(make_tasks(TASKS, seed=seed, tables=2, conditions=2))
        right = await _mean(tasks, [_rewritten(t.reference["sql"]) for t in tasks])
        listed = await _mean(tasks, [_constant(t) for t in tasks])
        noisy = corrupt(tasks, NOISE, seed=seed)
        clean = [t.reference["sql"] for t in tasks]
        under_noise = await _mean(noisy, clean, equivalence=False)
        single, voted = _voting(tasks, seed)
        rows.append([seed, right, listed, under_noise, single, voted])
        passed &= right == 1.0 and listed <= 0.85
        passed &= abs(under_noise - (1 - NOISE)) <= 0.15 and voted > single + 0.1
    columns = ["seed", "rewritten gold", "rows listed", "gold with 30% noise", "single", "voted"]
    return Measured(passed, columns, rows)


async def _mean(tasks: Sequence[Task], queries: Sequence[str], equivalence: bool = True) -> float:
    episodes = [
        await converse(
            SqlEnvironment(equivalence=equivalence), task, [f"<solution>{sql}</solution>"]
        )
        for task, sql in zip(tasks, queries, strict=True)
    ]
    found = await values(SqlReward(), episodes)
    return sum(found) / len(found)


def _rewritten(sql: str) -> str:
    """The same query in other words: conditions turned round, as a subquery."""
    head, _, where = sql.partition(" WHERE ")
    conditions = " AND ".join(reversed(where.split(" AND ")))
    return f"SELECT * FROM ({head} WHERE {conditions})"


def _constant(task: Task) -> str:
    """The gold rows as literals: right on this database, and on no other."""
    database = Database.of(task.payload)
    rows = database.run(task.reference["sql"]).rows
    database.close()
    if not rows:
        return "SELECT name FROM author WHERE 0"
    return " UNION ALL ".join("SELECT " + ", ".join(f"'{v}'" for v in row) for row in rows)


def _voting(tasks: Sequence[Task], seed: int) -> tuple[float, float]:
    """(share of right single queries, share of right votes) for writers that are right in 60%."""
    singles, votes = [], []
    for task in tasks:
        rng = random.Random(derive_seed(seed, "vote", task.id))
        gold = task.reference["sql"]
        wrong = [t.reference["sql"] for t in tasks if t.reference["sql"] != gold]
        written = [gold if rng.random() < RIGHT else rng.choice(wrong) for _ in range(VOTES)]
        database = Database.of(task.payload)
        wanted = multiset(database.run(gold).rows)
        singles.append(multiset(database.run(written[0]).rows) == wanted)
        chosen = vote(written, database)
        votes.append(chosen is not None and multiset(database.run(chosen).rows) == wanted)
        database.close()
    return sum(singles) / len(singles), sum(votes) / len(votes)
