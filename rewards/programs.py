"""The reward of a program that is judged by its output (paper 10, Agnostics, arXiv 2508.04865)."""

from __future__ import annotations

from dataclasses import dataclass

from agentrl.core import Check, Episode, Score


@dataclass(slots=True)
class ProgramOutput:
    """1 for a program that prints what it should, `partial` for one that runs cleanly but prints
    something else, 0 for the rest.

    Reads `outcome["status"]`: "success", "wrong_output", or anything else (an error, a time-out, no
    program). Abstains when the environment gave none.
    """

    partial: float = 0.2
    name: str = "program_output"

    async def score(self, episode: Episode) -> Score:
        outcome = episode.outcome
        status = outcome.get("status")
        if status is None:
            return Score(abstained=True, evidence="the environment gave no verdict ('status')")
        value = {"success": 1.0, "wrong_output": self.partial}.get(status, 0.0)
        passed, total = outcome.get("passed", 0), outcome.get("total", 0)
        checks = [
            Check("runs", float(value > 0 or status == "wrong_output"), status in
                  ("success", "wrong_output"), status),
            Check("cases", passed / total if total else 0.0, status == "success",
                  f"{passed} of {total}"),
        ]  # fmt: skip
        return Score(value, checks, evidence=f"{status} {outcome.get('message', '')}".strip()[:500])
