"""Paper 64, GHPO: a group that fails is tried again with ever more of the reference solution."""

from __future__ import annotations

from collections.abc import Sequence

from agentrl.core import Check
from agentrl.guidance.providers.written import cut
from agentrl.guidance.settings import Trigger
from agentrl.guidance.trigger import fires
from agentrl.papers.kit.attempts import Rollouts, failed_group, guidance, help_groups, level
from agentrl.papers.kit.properties import Property, measured
from agentrl.papers.registry import Measured

CLAIM = (
    "Hints are the first round(w * length) characters of the solution for w = 1/4, 1/2, 3/4; a "
    "group that first succeeds at 1/2 takes three group rollouts; a format reward alone is failure."
)
SIZE = 8
SOLUTION = "turn left, turn right, push the bar, walk out"


def run(seeds: Sequence[int]) -> Measured:
    return measured(p for seed in seeds for p in _properties(seed))


def _properties(seed: int) -> list[Property]:
    lucky = seed % SIZE
    rollouts = Rollouts(lambda a, n: float(level(a) == 2 and n == lucky))
    failed = failed_group([0.0] * SIZE, {"solution": SOLUTION})
    helped = help_groups(guidance("ghpo"), [failed], rollouts)
    hints = dict.fromkeys(str(a.guide.note["hint"]) for a in rollouts.asked if a.guide)
    shares = [len(cut(SOLUTION, w)) for w in (0.25, 0.5)]
    (learned,) = helped.groups
    polite = failed_group([0.5] * SIZE)
    for member in polite.episodes:
        member.scores["reward"].checks = [Check("accuracy", 0.0, passed=False)]
    open_group = Rollouts(lambda *_: 1.0)
    help_groups(guidance("ghpo"), [failed_group([0.0, 1.0], {"solution": SOLUTION})], open_group)
    return [
        Property(
            "characters of the hints", [round(len(SOLUTION) * w) for w in (0.25, 0.5)], shares
        ),
        Property("the hints are those", shares, [len(h) for h in hints]),
        Property("group rollouts, the plain one among them", 3, 1 + len(rollouts.asked) / SIZE),
        Property("levels tried", [1] * SIZE + [2] * SIZE, rollouts.levels),
        Property(
            "the hinted group is learned from", [2] * SIZE, [_level(e) for e in learned.episodes]
        ),
        Property("format alone is failure", 1, fires(polite, Trigger(check="accuracy"), ())),
        Property("no hint for a group with a success", 0, len(open_group.asked)),
    ]


def _level(episode: object) -> float:
    return float(episode.guidance["level"])  # type: ignore[attr-defined]
