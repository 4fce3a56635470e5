"""Paper 9, RISE: verifying one's own fresh solutions, judged by the same ladder."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

from agentrl.core import ConfigError, Score
from agentrl.papers.kit.toys import episode, table, wait
from agentrl.papers.registry import Measured
from agentrl.rewards.data.verify_own import VerifyOwn
from agentrl.rewards.verifiers import ExactMatch, Verified

CLAIM = (
    "A derived task's label is the reward its solution got; a boxed grade equal to it earns 1, "
    "another -0.5, none -1; stale solutions are refused."
)


def run(seeds: Sequence[int]) -> Measured:
    ladder = Verified(ExactMatch(strict=True), extract="boxed", wrong=-0.5, missing=-1.0)
    cases = []
    solved = episode([r"so \boxed{5}"], reference={"answer": "4"})
    solved.scores["reward"] = wait(ladder.score(solved))
    cases.append(("a wrong solution's reward", -0.5, solved.reward))
    derived = VerifyOwn().task_of(solved)
    cases.append(("its label", -0.5, float(derived.reference["answer"])))
    for text, wanted in ((r"\boxed{-0.5}", 1.0), (r"\boxed{1}", -0.5), ("minus a half", -1.0)):
        graded = episode([text], reference=derived.reference)
        cases.append((f"grade {text}", wanted, wait(ladder.score(graded)).value))
    for seed in seeds:
        fresh = [episode(["s"], task=f"t{i}", seed=i) for i in range(60)]
        for i, e in enumerate(fresh):
            e.scores["reward"] = Score(1.0 if i < 50 else -0.5)
        tasks = VerifyOwn(count=20).derive(fresh, random.Random(seed))
        labels = Counter(t.reference["answer"] for t in tasks)
        cases.append((f"seed {seed}: labels -0.5 of 20", 10.0, labels["-0.5"]))
        try:
            VerifyOwn().derive([*fresh, episode(["s"], version=1, reward=1.0)], random.Random(seed))
            refused = 0.0
        except ConfigError:
            refused = 1.0
        cases.append((f"seed {seed}: stale solutions refused", 1.0, refused))
    return table(cases)
