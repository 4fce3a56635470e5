"""Paper 19, RLVRR: ordered key content of references."""

from __future__ import annotations

from collections.abc import Sequence

from agentrl.papers.kit.toys import table, wait
from agentrl.papers.registry import Measured
from agentrl.rewards.verifiers import Item, KeywordChain
from agentrl.rewards.verifiers.chain import length_penalty

CLAIM = (
    "A point is worth the longest common subsequence of its keywords over the longer chain: order"
    " counts, repeats never raise, and a reference against itself is 1."
)
WORDS = ["a1", "b1", "c1"]


def _value(answer: str, reference: str) -> float:
    item = Item("", answer, {"points": [WORDS], "texts": [reference]})
    return wait(KeywordChain().verify(item)).value


def run(seeds: Sequence[int]) -> Measured:
    whole = "first a1, then b1, at last C1."
    return table(
        [
            ("a, c of a, b, c", 2 / 3, _value("a1 c1", whole)),
            ("c, a of a, b, c", 1 / 3, _value("c1 a1", whole)),
            ("a, b, c, c of a, b, c", 3 / 4, _value("a1 b1 c1 c1", whole)),
            ("against itself", 1.0, _value(whole, whole)),
            ("no keyword", 0.0, _value("nothing", whole)),
            ("a1x is not a1", 0.0, _value("a1x", whole)),
            (
                "the better of two references",
                1.0,
                wait(
                    KeywordChain().verify(
                        Item("", "c1 a1", {"points": [WORDS], "texts": [whole, "c1 a1"]})
                    )
                ).value,
            ),
            ("length in the free band", 0.0, length_penalty(110, 100)),
            ("length 1.5 of the reference", 0.5, length_penalty(150, 100)),
        ]
    )
