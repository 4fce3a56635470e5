"""Text-to-SQL over SQLite (ReViSQL, paper 5)."""

from agentrl.environments.sql.database import Database, Failed, Rows, vote
from agentrl.environments.sql.environment import SqlEnvironment, SqlReward
from agentrl.environments.sql.equivalence import Equivalence, compare
from agentrl.environments.sql.generate import corrupt, make_tasks

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
