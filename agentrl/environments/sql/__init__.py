"""Text-to-SQL over SQLite (ReViSQL, paper 5)."""

from agentrl.environments.sql.environment import SqlEnvironment, SqlReward
from agentrl.environments.sql.generate import corrupt, make_tasks
from agentrl.rewards.verifiers.sql_equivalence import Equivalence, compare
from agentrl.rewards.verifiers.sqlite import Database, Failed, Rows, vote

__all__ = [
    "Database",
    "Equivalence",
    "Failed",
    "Rows",
    "SqlEnvironment",
    "SqlReward",
    "compare",
    "corrupt",
    "make_tasks",
    "vote",
]
