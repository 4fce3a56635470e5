"""Paper 13, CoSineVerifier: strings miss what computing sees, and tools cannot be farmed.

Three verifiers judge the same items: one compares strings, one converts units with the tool of the
environment, one calls the tool and then contradicts what it saw.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence

from agentrl.core import Task, ToolCall
from agentrl.environments.verify import VerdictReward, VerifyEnvironment, make_tasks
from agentrl.papers.kit.rollouts import converse, values
from agentrl.papers.registry import Measured
from agentrl.rewards.verifiers.base import Item
from agentrl.rewards.verifiers.numbers import Quantity

CLAIM = (
    "On unit items string comparison refuses every right answer and the converter none; the tool "
    "bonus is paid with right verdicts on computing items only."
)
ITEMS = 40
_UNITS = re.compile(r"(\S+) (\S+)")


def run(seeds: Sequence[int]) -> Measured:
    return asyncio.run(_run(seeds))


async def _run(seeds: Sequence[int]) -> Measured:
    rows: list[list[str | int | float]] = []
    passed = True
    for seed in seeds:
        units = list(make_tasks(ITEMS, seed=seed, kinds=["units"]))
        choices = list(make_tasks(ITEMS, seed=seed, kinds=["choice"]))
        strings = await _accuracy(units, tool=False)
        tools = await _accuracy(units, tool=True)
        farmed = await _reward(units, against=True)
        paid = await _reward(units)
        unpaid = await _reward(choices)
        rows.append([seed, strings, tools, paid, unpaid, farmed])
        wrong = sum(task.reference["correct"] for task in units) / ITEMS
        passed &= abs(strings - (1 - wrong)) < 1e-9 and tools == 1.0
        passed &= abs(paid - 1.1) < 1e-9 and unpaid == 1.0 and farmed == 0.0
    columns = ["seed", "by string", "by tool", "paid on units", "on choices", "contradicting"]
    return Measured(passed, columns, rows)


async def _accuracy(tasks: Sequence[Task], tool: bool) -> float:
    right = 0
    for task in tasks:
        if tool:
            correct = await _by_tool(task)
        else:
            correct = task.payload["reference"] == task.payload["candidate"]
        said = f"Verdict: {'correct' if correct else 'incorrect'}"
        episode = await converse(VerifyEnvironment(), task, [said])
        right += episode.outcome["right"]
    return right / len(tasks)


async def _by_tool(task: Task) -> bool:
    """Convert the reference to the candidate's units and compare what the tool says."""
    environment = VerifyEnvironment()
    await environment.reset(task)
    reference, candidate = (_UNITS.fullmatch(task.payload[k]) for k in ("reference", "candidate"))
    assert reference is not None
    assert candidate is not None
    arguments = {"value": float(reference[1]), "source": reference[2], "target": candidate[2]}
    answer = await environment.tools["convert"](arguments)
    item = Item("", answer.text, task.payload["candidate"])
    return answer.ok and (await Quantity(relative=1e-6).verify(item)).value == 1.0


async def _reward(tasks: Sequence[Task], against: bool = False) -> float:
    """The mean reward of one call and the right verdict, or (`against`) the wrong one."""
    call = ToolCall("convert", {"value": 1.0, "source": "m", "target": "cm"})
    episodes = []
    for task in tasks:
        correct = bool(task.reference["correct"]) != against
        said = f"Verdict: {'correct' if correct else 'incorrect'}"
        episodes.append(await converse(VerifyEnvironment(), task, [call, said]))
    found = await values(VerdictReward(tool_bonus=0.1), episodes)
    return sum(found) / len(found)
