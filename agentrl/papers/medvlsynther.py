"""Paper 11, MedVLSynther: a rubric that gates, adds up and takes away; questions that pass it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

from agentrl.core import Check, CheckKind, Task
from agentrl.papers.kit.toys import table, wait
from agentrl.papers.registry import Measured
from agentrl.rewards.combine import checklist
from agentrl.rewards.data.synthesis import ESSENTIAL, Synthesise
from agentrl.rewards.judges.scripted import ScriptedChat

CLAIM = (
    "Scores are clipped to their weights, pitfalls only take away, and one missing essential item"
    " rejects whatever the rest gives; accepted questions have even answer letters."
)


def _check(value: float, weight: float, kind: CheckKind = "positive") -> Check:
    return Check(f"{kind}{value}", value, kind=kind, weight=weight)


def run(seeds: Sequence[int]) -> Measured:
    items = [_check(5, 5), _check(2, 4)]
    cases = [
        ("5 of 5, 2 of 4, pitfall -1", 6 / 9, checklist([*items, _check(-1, 1, "pitfall")]).value),
        ("pitfall +1 is ignored", 7 / 9, checklist([*items, _check(1, 1, "pitfall")]).value),
        ("9 of weight 5 is clipped", 1.0, checklist([_check(9, 5)]).value),
        ("an essential item missing", 0.0, checklist([*items, _check(0, 1, "essential")]).value),
        ("no weights abstain", 1.0, float(checklist([_check(1, 1, "plain")]).abstained)),
    ]
    for seed in seeds:
        found = wait(_synthesised(seed))
        letters = Counter(task.reference["answer"] for task in found)
        cases.append((f"seed {seed}: accepted of 20", 15.0, len(found)))
        cases.append((f"seed {seed}: most of one letter", 3.0, max(letters.values())))
    return table(cases)


async def _synthesised(seed: int) -> list[Task]:
    """20 sources; the review of every fourth question misses an essential item."""

    def write(text: str, _: int) -> dict[str, object]:
        return {"stem": text, "options": list("vwxyz"), "answer": "A"}

    def review(text: str, _: int) -> dict[str, object]:
        bad = any(f"source {4 * i}." in text for i in range(5))
        titles = ESSENTIAL[1:] if bad else ESSENTIAL
        items = [{"title": t, "category": "essential", "weight": 1, "score": 1} for t in titles]
        return {"items": items}

    work = Synthesise(ScriptedChat(write), ScriptedChat(review))
    return await work.transform(
        [Task(str(i), f"source {i}.") for i in range(20)], random.Random(seed)
    )
