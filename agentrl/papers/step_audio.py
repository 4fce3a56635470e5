"""Paper 3, Step-Audio-R1.5: verifiable and preference reward behind a gate, and the trap alarm."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from agentrl.core import Score
from agentrl.papers.kit.toys import Fixed, episode, table, wait
from agentrl.papers.registry import Measured
from agentrl.rewards.diagnostics.monitors import DriftMonitor
from agentrl.rewards.judges.preference import PreferenceMix
from agentrl.rewards.judges.scripted import ScriptedChat

CLAIM = (
    "A closed gate gives 0 whatever the judge likes; a reply as good as the reference has "
    "preference 0.5; the mix rises with each part; rising reward with falling quality sets off "
    "the alarm."
)


def _reward(outcome: float, liked: float) -> float:
    """The judge gives the reply `liked` more than the reference, in both orders."""

    def compare(text: str, seed: int) -> dict[str, float]:
        first = text.index("REPLY") < text.index("REFERENCE")
        return {"first": 5 + liked * first, "second": 5 + liked * (not first)}

    mix = PreferenceMix(Fixed(outcome), ScriptedChat(compare))
    return wait(
        mix.score(episode(["<think>x</think>REPLY"], reference={"reply": "REFERENCE"}))
    ).value


def _alarm(quality_slope: float, seed: int) -> float:
    monitor, rng = DriftMonitor("quality"), np.random.default_rng(seed)
    found: dict[str, float] = {}
    for step in range(20):
        e = episode(["x"], reward=0.2 + 0.02 * step + rng.normal(0, 0.01))
        e.scores["quality"] = Score(0.8 + quality_slope * step + rng.normal(0, 0.01))
        found = monitor.watch([e])
    return found["trap"]


def run(seeds: Sequence[int]) -> Measured:
    cases = [
        ("gate closed, liked most", 0.0, _reward(0, 5)),
        ("gate open, as good", 0.5 + 0.25, _reward(1, 0)),
        ("rises with preference", 1.0, float(_reward(1, -3) < _reward(1, 0) < _reward(1, 3))),
        ("rises with the outcome", 1.0, float(_reward(0.5, 1) < _reward(1, 1))),
    ]
    for seed in seeds:
        cases.append((f"seed {seed}: alarm, quality falls", 1.0, _alarm(-0.02, seed)))
        cases.append((f"seed {seed}: alarm, quality rises", 0.0, _alarm(0.02, seed)))
    return table(cases)
