"""Paper 41, CAPO: a judge's wrong steps lose credit; no flawed success falls below a failure."""

from __future__ import annotations

from collections.abc import Sequence

from agentrl.papers.kit.toys import Fixed, episode, listed, table, wait
from agentrl.papers.registry import Measured
from agentrl.rewards.judges.scripted import ScriptedChat
from agentrl.rewards.judges.votes import SetRule, decide_sets
from agentrl.rewards.process.capo import Capo
from agentrl.rewards.process.segments import token_values

CLAIM = (
    "Tiers 2, 1, 0, -1; critiques {2}, {2,3}, {2}, {} give {} by intersection, {2} by majority "
    "and {2,3} by union; every token belongs to one step; a judge that fails punishes nobody."
)
CRITIQUES: tuple[list[int], ...] = ([2], [2, 3], [2], [])


def _reward(
    outcome: float, rule: SetRule, text: str = "one\n\ntwo\n\nthree"
) -> tuple[list[float], list[float]]:
    left = list(CRITIQUES)
    judge = ScriptedChat(lambda question, seed: {"wrong": left.pop(0)})
    score = wait(Capo(Fixed(outcome), judge, rule=rule, by="paragraph").score(episode([text])))
    return [s.value for s in score.spans], token_values(list(text), score.spans)


def run(seeds: Sequence[int]) -> Measured:
    cases = listed("success, majority", [2, 1, 2], _reward(1, "majority")[0])
    cases += listed("failure, majority", [0, -1, 0], _reward(0, "majority")[0])
    cases += listed("success, union", [2, 1, 1], _reward(1, "union")[0])
    cases += listed("success, intersection", [2, 2, 2], _reward(1, "intersection")[0])
    for rule, wanted in (("intersection", 0), ("majority", 1), ("union", 2)):
        cases.append((f"members by {rule}", wanted, len(decide_sets(CRITIQUES, rule))))  # type: ignore[arg-type]
    tokens = _reward(1, "majority")[1]
    cases += listed("tokens", [2] * 3 + [0] * 2 + [1] * 3 + [0] * 2 + [2] * 5, tokens)
    broken = Capo(Fixed(1.0), ScriptedChat(lambda question, seed: "?"))
    cases += listed("an unreadable judge", [2, 2], wait(broken.score(episode(["a", "b"]))).steps)
    return table(cases)
