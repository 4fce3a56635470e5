"""What judging costs of our own time: judge calls in flight, rule verifiers, batches of groups.

    python benchmarks/judging.py          # --json: the last line is one JSON object

CPU milliseconds of one call, with models that answer at once: whatever is measured is ours.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Callable, Coroutine
from typing import Any

from pydantic import BaseModel

from agentrl.papers.kit.toys import episode, group
from agentrl.rewards.group.base import judge_groups
from agentrl.rewards.group.vote import MajorityVote
from agentrl.rewards.judges.judge import Judge
from agentrl.rewards.judges.scripted import ScriptedChat
from agentrl.rewards.judges.template import Template
from agentrl.rewards.transforms import transform_rewards
from agentrl.rewards.transforms.filters import StdFilter
from agentrl.rewards.transforms.scale import ZScore
from agentrl.rewards.verifiers import Choice, ExactMatch, Item, Math, Quantity, Verifier

IN_FLIGHT = 200
TEMPLATE = Template("bench", "You judge.", "The dialogue:\n{dialogue}\n\nThe item:\n{item}")


class Yes(BaseModel):
    yes: bool


class Waiting(ScriptedChat):
    """Answers after a tenth of a second, as a judge over a network does."""

    async def chat(self, *given: Any, **named: Any) -> Any:
        await asyncio.sleep(0.1)
        return await ScriptedChat.chat(self, *given, **named)


async def judge_calls() -> int:
    judge = Judge(Waiting(lambda text, seed: {"yes": True}), TEMPLATE, Yes)
    given = {"dialogue": "a word of it " * 2000}
    await judge.ask_all([{**given, "item": str(i)} for i in range(IN_FLIGHT)])
    return IN_FLIGHT


def verifier_calls(verifier: Verifier, answer: str, reference: str) -> Callable[[], Any]:
    async def calls() -> int:
        for i in range(50):
            await verifier.verify(Item("q", answer.replace("#", str(i)), reference))
        return 50

    return calls


async def group_step() -> int:
    groups = [
        group([episode(["b"], task=f"t{g}", seed=i, reward=float(i % 2)) for i in range(16)])
        for g in range(16)
    ]
    await judge_groups(MajorityVote(), groups)
    transform_rewards([StdFilter(begin=1), ZScore("group")], groups)
    return 256


CASES: dict[str, Callable[[], Coroutine[Any, Any, int]]] = {
    f"judge, {IN_FLIGHT} in flight": judge_calls,
    "exact_match": verifier_calls(ExactMatch(), "The # cats", "3 cats"),
    "choice": verifier_calls(Choice(), "answer: B #", "B"),
    "quantity": verifier_calls(Quantity(), "# km/h", "20 m/s"),
    "math, numbers": verifier_calls(Math(), "#", "20"),
    "math, symbolic (wall)": verifier_calls(Math(seconds=60), r"\frac{#}{2}x", "x/2"),
    "vote, filter and z-score": group_step,
}


def measure(work: Callable[[], Coroutine[Any, Any, int]], wall: bool) -> float:
    """Milliseconds of a call, the best of three."""
    clock = time.perf_counter if wall else time.process_time
    best = float("inf")
    for _ in range(3):
        started = clock()
        count = asyncio.run(work())
        best = min(best, (clock() - started) / count)
    return 1000 * best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    options = parser.parse_args()
    found = {name: measure(work, "wall" in name) for name, work in CASES.items()}
    for name, value in found.items():
        print(f"{name:<28}{value:9.3f} ms")
    if options.json:
        print(json.dumps({name: round(value, 4) for name, value in found.items()}))


if __name__ == "__main__":
    main()
