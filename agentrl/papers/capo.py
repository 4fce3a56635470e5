"""Paper 41, CAPO: a judge's wrong steps lose credit; no flawed success falls below a failure.

Trained: answers of two lines, of which the second is right or wrong and the first does not matter.
A judge finds every second first line wrong. From one start a small policy is trained by GRPO on
the outcome, and on CAPO's spans, which the learner turns into advantages of the tokens.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from agentrl.core import Group, derive_seed
from agentrl.papers.kit.bandit import VOCAB, answer_chances, toy_group, toy_learner
from agentrl.papers.kit.toys import Fixed, episode, listed, table, wait
from agentrl.papers.registry import Measured
from agentrl.rewards.judges.scripted import ScriptedChat
from agentrl.rewards.judges.votes import SetRule, decide_sets
from agentrl.rewards.process.capo import Capo

if TYPE_CHECKING:
    from agentrl.learner import Learner

CLAIM = (
    "Tiers 2, 1, 0, -1; critiques {2}, {2,3}, {2}, {} give {} by intersection, {2} by majority "
    "and {2,3} by union; every token belongs to one step; a judge that fails punishes nobody. "
    "Trained, a wrong step that does not change the answer goes under CAPO, while GRPO leaves it "
    "to chance."
)
CRITIQUES: tuple[list[int], ...] = ([2], [2, 3], [2], [])
UPDATES, SAMPLES, RATE = 30, 48, 6e-3
# As many odd ones as even ones: what raises them in the second line says nothing of the first.
RIGHT = [t for t in range(VOCAB) if t % 8 < 2]


def _reward(
    outcome: float, rule: SetRule, text: str = "one\n\ntwo\n\nthree"
) -> tuple[list[float], list[float]]:
    from agentrl.learner.extensions.spans import token_values

    left = list(CRITIQUES)
    judge = ScriptedChat(lambda question, seed: {"wrong": left.pop(0)})
    score = wait(Capo(Fixed(outcome), judge, rule=rule, by="paragraph").score(episode([text])))
    values = token_values(list(text), score.spans, outside=score.value)
    return [s.value for s in score.spans], values


def run(seeds: Sequence[int]) -> Measured:
    cases = listed("success, majority", [2, 1, 2], _reward(1, "majority")[0])
    cases += listed("failure, majority", [0, -1, 0], _reward(0, "majority")[0])
    cases += listed("success, union", [2, 1, 1], _reward(1, "union")[0])
    cases += listed("success, intersection", [2, 2, 2], _reward(1, "intersection")[0])
    for rule, wanted in (("intersection", 0), ("majority", 1), ("union", 2)):
        cases.append((f"members by {rule}", wanted, len(decide_sets(CRITIQUES, rule))))  # type: ignore[arg-type]
    tokens = _reward(1, "majority")[1]
    cases += listed("tokens", [2] * 5 + [1] * 3 + [2] * 7, tokens)
    broken = Capo(Fixed(1.0), ScriptedChat(lambda question, seed: "?"))
    cases += listed("an unreadable judge", [2, 2], wait(broken.score(episode(["a", "b"]))).steps)
    start, plain, capo = (
        np.array([trained(seed, way, updates) for seed in seeds])
        for way, updates in (("grpo", 0), ("grpo", UPDATES), ("capo", UPDATES))
    )
    for seed, before, by_outcome, by_step in zip(seeds, start, plain, capo, strict=True):
        said = (
            f"seed {seed}: wrong first lines {before[0]:.2f}, GRPO {by_outcome[0]:.2f}, "
            f"CAPO {by_step[0]:.2f}; right answers {by_outcome[1]:.2f} and {by_step[1]:.2f}"
        )
        learned = min(by_outcome[1], by_step[1]) > 0.8
        cases.append((said, 1.0, float(learned and by_step[0] < 0.1)))
    kept = float(plain[:, 0].mean())
    said = f"wrong first lines under GRPO, mean {start[:, 0].mean():.2f} -> {kept:.2f}: no fewer"
    cases.append((said, 1.0, float(kept > 0.8 * start[:, 0].mean())))
    return table(cases)


class Letters:
    """A line of one letter for each token."""

    def texts(self, ids: Sequence[int]) -> list[str]:
        return [f"{chr(65 + i)}\n" for i in ids]

    def encode_plain(self, text: str) -> list[int]:
        return [ord(c) - 65 for c in text]


def _critic() -> ScriptedChat:
    """Finds a first line wrong when its letter has an odd number."""

    def critique(question: str, seed: int) -> dict[str, list[int]]:
        found = re.search(r"^\[1\] (.)$", question, re.MULTILINE)
        return {"wrong": [1] if found and ord(found[1]) % 2 == 0 else []}

    return ScriptedChat(critique)


def trained(seed: int, way: str, updates: int = UPDATES) -> tuple[float, float]:
    """(chance of a wrong first line, of a right answer) after training."""
    source = {"source": "spans"} if way == "capo" else {}
    learner = toy_learner(
        seed, Letters(), learning_rate=RATE, channels={"outcome": {"scale": "std", **source}}
    )
    rng = np.random.default_rng(derive_seed(seed, "capo"))
    for _ in range(updates):
        learner.step([wait(_judged(_drawn(learner, rng), learner.version))])
    first, then = answer_chances(learner), _second(learner, range(VOCAB))
    right = sum(p * then[t][RIGHT].sum() for t, p in enumerate(first))
    return float(first[1::2].sum()), float(right)


def _drawn(learner: Learner, rng: np.random.Generator) -> list[list[int]]:
    first = rng.choice(VOCAB, SAMPLES, p=answer_chances(learner)).tolist()
    then = _second(learner, sorted(set(first)))
    return [[t, int(rng.choice(VOCAB, p=then[t]))] for t in first]


def _second(learner: Learner, first: Iterable[int]) -> dict[int, np.ndarray]:
    return {t: answer_chances(learner, [t]) for t in first}


async def _judged(answers: list[list[int]], version: int) -> Group:
    group = toy_group([0.0] * len(answers), answers)
    for member, (_, answer) in zip(group.episodes, answers, strict=True):
        turn = member.turns[0]
        turn.text = "".join(Letters().texts(turn.tokens.tolist()))
        member.segments[0].weights[-2:] = version
        capo = Capo(Fixed(float(answer in RIGHT)), _critic(), votes=1, by="sentence")
        member.scores["reward"] = await capo.score(member)
    return group
