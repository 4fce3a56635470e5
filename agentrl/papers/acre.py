"""Paper 25, ACRE: does the same reasoning pick the same option in another order?"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from agentrl.papers.kit.toys import episode, table, wait
from agentrl.papers.registry import Measured
from agentrl.rewards.data.options import (
    ShuffleConsistency,
    by_content,
    same_option_rate,
    shuffled,
    tier,
)
from agentrl.rewards.judges.scripted import ScriptedChat

CLAIM = (
    "Right in both orders earns most, then right at first, then right at second; an answer that "
    "sticks to its letter is found out; consistent but wrong earns 0."
)
OPTIONS = ["dog", "cat", "cow", "hen"]


def _reward(text: str, second: str) -> float:
    """`second`: the content that the second reading picks, or "letter" for the first letter."""

    def answer(question: str, seed: int) -> str:
        shown = "\n".join(m.content for m in model.conversations[-1])
        if second == "letter":
            return text[-1]
        found = re.search(rf"^([A-J])\. {second}$", shown, re.MULTILINE)
        return found[1] if found else "none"

    model = ScriptedChat(answer)
    e = episode(
        [text], payload={"options": OPTIONS, "question": "which?"}, reference={"answer": "B"}
    )
    return wait(ShuffleConsistency(model).score(e)).value


def run(seeds: Sequence[int]) -> Measured:
    cases = [
        ("right twice", 1.5, _reward("it purrs: answer B", "cat")),
        ("right, then the same letter", 0.5, _reward("it purrs: answer B", "letter")),
        ("wrong, then right", 0.2, _reward("it barks: answer A", "cat")),
        ("consistent and wrong", 0.0, _reward("it barks: answer A", "dog")),
        ("tiers fall", 1.0, float(tier(True, True) > tier(True, False) > tier(False, True) > 0)),
        ("OSCR of two pairs", 0.5, same_option_rate([("cat", "cat"), ("dog", "cat")])),
        ("letters become contents", 1.0, float(by_content("so (B)", OPTIONS) == 'so "cat"')),
    ]
    for seed in seeds:
        orders = [shuffled(4, random.Random(1000 * seed + i)) for i in range(50)]
        kept = sum(i == at for order in orders for i, at in enumerate(order))
        cases.append((f"seed {seed}: options that keep their letter", 0.0, kept))
        cases.append(
            (
                f"seed {seed}: all permutations",
                1.0,
                float(all(sorted(o) == [0, 1, 2, 3] for o in orders)),
            )
        )
    return table(cases)
