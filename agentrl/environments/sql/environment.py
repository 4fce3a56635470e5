"""A question, a database to look into, and a SELECT that answers it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agentrl.core import Check, Episode, Message, Score, Task, TaskFileError, Turn
from agentrl.core.taskfile import FOLDER
from agentrl.environments.answers import AnswerEnvironment, ungraded
from agentrl.environments.base import Observation
from agentrl.rewards.verifiers.sql_equivalence import compare
from agentrl.rewards.verifiers.sqlite import Database, Failed, Result, multiset
from agentrl.tools import ToolError, tool

SYSTEM = (
    "Answer the question with one SQLite SELECT. Look into the database with `query` first. Write "
    "the answer as <solution>SELECT ...</solution>, in a message without a call."
)
_SOLUTION = re.compile(r"<solution>(.*?)</solution>", re.DOTALL)
_NEED = "Requirement of external knowledge {} ("
_CHECKED = "Verification of external knowledge {} ("


class SqlEnvironment(AnswerEnvironment):
    """Text-to-SQL with a tool to try queries.

    Args:
        max_turns: messages of the policy; each observation says how many are left.
        shown_rows: of a result that the policy sees.
        equivalence: also look whether a match was a coincidence (for training; slower).
    """

    def __init__(
        self, *, max_turns: int = 5, shown_rows: int = 50, equivalence: bool = True
    ) -> None:
        self._max_turns, self._shown, self._equivalence = max_turns, shown_rows, equivalence
        self._database: Database | None = None
        self._turn = 0

    def reset(self, task: Task) -> list[Message]:
        """Raises TaskFileError when the task's database or gold query does not work."""
        self.task = task
        self._database = Database.of(task.payload, task.metadata.get(FOLDER, ""))
        try:
            self._gold = self._database.run(task.reference["sql"]).rows
        except Failed as error:
            raise TaskFileError(
                f"the gold query does not run: {error}", where=f"task {task.id}"
            ) from error
        return [Message("system", SYSTEM), Message("user", task.prompt)]

    @tool
    def query(self, sql: str) -> str:
        """Run a SELECT on the database.

        Args:
            sql: one SQLite statement.
        """
        assert self._database is not None
        try:
            return table(self._database.run(sql, limit=self._shown))
        except Failed as error:
            raise ToolError(str(error)) from None

    async def step(self, turn: Turn) -> Observation:
        """Run the queries; a solution ends the episode, beside a query as well."""
        self._turn += 1
        if not turn.calls or _SOLUTION.search(turn.text):
            return Observation([], done=True)
        observation = await super().step(turn)
        left = self._max_turns - self._turn
        if left <= 0:
            return Observation(observation.messages, done=True)
        observation.messages[-1].content += f"\n({left} turn{'s' * (left > 1)} left)"
        return observation

    async def finish(self, episode: Episode) -> dict[str, Any]:
        """{"sql", "grading", "required", "verified"}; grading is "malformed", "error", "mismatch",
        "match" or "coincidence" (a match, but provably another query)."""
        assert self._database is not None
        last = episode.turns[-1] if episode.turns else None
        found = _SOLUTION.findall(last.text) if last else []
        sql = found[0].strip() if last and len(found) == 1 and not last.calls else None
        pieces = len(self.task.payload.get("knowledge", []))
        said = [turn.text for turn in episode.turns]
        return {
            "sql": sql or "",
            "grading": "malformed" if not sql else self._grade(sql),
            "required": any(_holds(_NEED, pieces, text) for text in said[:2]),
            "verified": bool(said) and _holds(_CHECKED, pieces, said[-1]),
        }

    def _grade(self, sql: str) -> str:
        assert self._database is not None
        try:
            result = self._database.run(sql)
        except Failed:
            return "error"
        if result.cut or multiset(result.rows) != multiset(self._gold):
            return "mismatch"
        schema = self.task.payload.get("schema")
        if self._equivalence and schema is not None:
            same = compare(self.task.reference["sql"], sql, schema)
            return "coincidence" if same.verdict == "different" else "match"
        return "match"

    async def snapshot(self) -> int:
        """The database is only read: what changes is how many turns are left."""
        return self._turn

    async def restore(self, task: Task, state: int) -> None:
        self.reset(task)
        self._turn = state

    async def close(self) -> None:
        if self._database is not None:
            self._database.close()


def table(result: Result) -> str:
    """A result as text, one row a line."""
    lines = [" | ".join(result.columns)]
    lines += [" | ".join(_cell(value) for value in row) for row in result.rows]
    if result.cut:
        lines.append(f"... only the first {len(result.rows)} rows are shown")
    return "\n".join(lines)


def _cell(value: Any) -> str:
    return "NULL" if value is None else str(value)[:200]


def _holds(form: str, pieces: int, text: str) -> bool:
    """Whether a text has the line of every piece of external knowledge."""
    return all(form.format(i) in text for i in range(1, pieces + 1))


@dataclass(slots=True)
class SqlReward:
    """The terminal reward of ReViSQL (paper 5) and its penalties for skipped evidence.

    Terminal, on the last turn: malformed -1, error or mismatch 0, match 1, and `coincidence` for a
    match that a counterexample shows to be another query. For a task with external knowledge,
    `penalty` is taken off at turn 2 when its pieces were not restated by then, and at the last turn
    when the solution does not verify them; an answer in turn 1 loses one only if both are missing.
    """

    coincidence: float = 0.8
    penalty: float = 0.1
    name: str = "sql"

    async def score(self, episode: Episode) -> Score:
        outcome = episode.outcome
        if "grading" not in outcome:
            return ungraded("grading")
        ladder = {"malformed": -1.0, "coincidence": self.coincidence, "match": 1.0}
        steps = [0.0] * len(episode.turns)
        terminal = ladder.get(outcome["grading"], 0.0)
        if not steps:
            return Score(terminal, evidence=outcome["grading"])
        steps[-1] = terminal
        if episode.task.payload.get("knowledge"):
            self._charge(steps, outcome)
        checks = [Check(key, float(outcome[key]), outcome[key]) for key in ("required", "verified")]
        return Score(sum(steps), checks, steps, outcome["grading"])

    def _charge(self, steps: list[float], outcome: dict[str, Any]) -> None:
        missing = [not outcome["required"], not outcome["verified"]]
        if len(steps) == 1:
            steps[0] -= self.penalty * all(missing)
            return
        steps[1] -= self.penalty * missing[0]
        steps[-1] -= self.penalty * missing[1]


def accuracy(episodes: Sequence[Episode]) -> float:
    """Share of episodes whose query returned the gold rows (execution accuracy)."""
    matched = [e.outcome.get("grading") in ("match", "coincidence") for e in episodes]
    return sum(matched) / max(1, len(matched))
