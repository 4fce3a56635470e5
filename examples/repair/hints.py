"""Hints that so small a policy can follow: the faulty line, then the operator in it.

The plans that `agentrl` makes (`ladder: [plan, file]`) name the test, what it asserts and the
function, which is for a policy that can reason; these are for one that can copy. Neither says what
has to stand there.
"""

from __future__ import annotations

from agentrl.guidance import Ask
from examples.repair.agent import fault


class Fault:
    """From the gold patch; for `guidance: {ladder: ["examples.repair.hints:Fault"]}`."""

    levels = 2

    async def hint(self, ask: Ask, level: int) -> str | None:
        found = fault(ask.task.reference.get("gold_patch", ""))
        if found is None:
            return None
        line, operator, _ = found
        return in_line(line) if level == 1 else is_operator(operator)


def in_line(line: str) -> str:
    return f"the fault is in `{line.strip()}`."


def is_operator(operator: str) -> str:
    return f"the fault is `{operator}`."
