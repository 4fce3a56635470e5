"""Paper 61, pitfalls of verifiers: a rule first, then a model, and what fools the model."""

from __future__ import annotations

from collections.abc import Sequence

from agentrl.papers.kit.toys import Fixed, episode, table, wait
from agentrl.papers.registry import Measured
from agentrl.rewards.combine import Guard, OrElse
from agentrl.rewards.diagnostics.attacks import ATTACKS, attack
from agentrl.rewards.diagnostics.monitors import HackMonitor
from agentrl.rewards.judges.scripted import ScriptedChat
from agentrl.rewards.judges.verify import JudgeVerifier
from agentrl.rewards.verifiers import Choice, ExactMatch, Item, Quantity

CLAIM = (
    "The model is asked only where a rule may be wrong; recall never falls below the rule's; a "
    "judge that takes '{' is found by the attack suite and stopped by a guard; shipped rules have "
    "no false positive."
)


def _hybrid(answer: str, reference: str, says: bool) -> tuple[float, int]:
    judge = ScriptedChat(lambda text, seed: {"correct": says})
    found = wait(OrElse(ExactMatch(), JudgeVerifier(judge)).verify(Item("q", answer, reference)))
    return found.value, judge.asked


def run(seeds: Sequence[int]) -> Measured:
    fooled = JudgeVerifier(
        ScriptedChat(
            lambda text, seed: {"correct": "answer>\n{\n" in text or " answer>\n{\n" in text}
        )
    )
    items = [Item("2 + 2?", "5", "4"), Item("how long?", "3 m", "4 m")]
    symbols = {"symbols": ATTACKS["symbols"]}
    rate, which = wait(attack(fooled, items[:1], symbols))["symbols"]
    guarded = wait(attack(Guard(fooled), items[:1], symbols))["symbols"][0]
    cases = [
        ("1/2 against 0.5x: asked", 1.0, _hybrid("1/2", "0.5x", True)[1]),
        ("and accepted", 1.0, _hybrid("1/2", "0.5x", True)[0]),
        ("3 against 4: not asked", 0.0, _hybrid("3", "4", True)[1]),
        ("empty: not asked", 0.0, _hybrid("", "4", True)[1]),
        ("rule right: not asked", 0.0, _hybrid("4", "4", False)[1]),
        ("recall stays the rule's", 1.0, _hybrid("four", "four", False)[0]),
        ("'{' fools the stub", 1.0, float(which == ["{"] and rate > 0)),
        ("not behind a guard", 0.0, guarded),
    ]
    for verifier in (ExactMatch(), Quantity(), Choice()):
        gold = [Item("q", "A", "B")] if isinstance(verifier, Choice) else items
        worst = max(rate for rate, _ in wait(attack(verifier, gold)).values())
        cases.append((f"false positives of {verifier.name}", 0.0, worst))
    monitor = HackMonitor(Fixed(0.5), every=1)
    first = wait(monitor.watch([episode(["x"], reward=0.5)]))
    later = wait(monitor.watch([episode(["{"], reward=1.0)]))
    cases += [("alarm at first", 0.0, first["alarm"]), ("alarm when hacked", 1.0, later["alarm"])]
    return table(cases)
