"""Paper 37, TRM: faithfulness and correctness of sentences."""

from __future__ import annotations

from collections.abc import Sequence

from agentrl.papers.kit.toys import episode, listed, table, wait
from agentrl.papers.registry import Measured
from agentrl.rewards.judges.scripted import ScriptedChat
from agentrl.rewards.process.faithful import Faithful, reward_model_reward

CLAIM = (
    "Two sentences, one faithfulness missed, the incorrect one flagged: mean 1.0 with the bonus, "
    "0.75 without; another number of sentences earns 0, or abstains when it is the judge's."
)
LABELS = [(True, True), (False, False)]


def _judged(count: int) -> ScriptedChat:
    rows = [{"number": n + 1, "faithful": True, "correct": n == 0} for n in range(count)]
    return ScriptedChat(lambda text, seed: {"sentences": rows})


def run(seeds: Sequence[int]) -> Measured:
    missed = [(True, True), (True, False)]
    answer = episode(["Water is wet. Fire is cold."], payload={"documents": ["Fire is cold."]})
    found = wait(Faithful(_judged(2)).score(answer))
    cases = [
        ("with bonus", 1.0, reward_model_reward(missed, LABELS)),
        ("without", 0.75, reward_model_reward(missed, LABELS, bonus=0.0)),
        ("one sentence too few", 0.0, reward_model_reward(missed[:1], LABELS)),
        ("answer with one wrong sentence", 0.5, found.value),
        ("the judge miscounts", 1.0, float(wait(Faithful(_judged(3)).score(answer)).abstained)),
    ]
    cases += listed("spans", [1.0, 0.0], [s.value for s in found.spans])
    faithful_but_wrong = [c.passed for c in found.checks[2:]]
    cases += listed("faithful but wrong", [0.0, 1.0], [float(bool(p)) for p in faithful_but_wrong])
    return table(cases)
