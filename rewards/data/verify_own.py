"""RISE: verify your own answer (paper 9)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from agentrl.core import ConfigError, Episode, Task

_ASK = """A question, and a solution to it that you are to grade.

The question:
{question}

The solution:
{solution}

Grades: {right:g} when the final answer stands in \\boxed{{}} and is right, {wrong:g} when it stands
there and is wrong, {missing:g} when there is no \\boxed{{}}. Reason about the solution, then give
its grade in \\boxed{{}}."""


@dataclass(slots=True)
class VerifyOwn:
    """Of fresh on-policy episodes makes tasks whose right answer is the reward they got.

    Judge both kinds with {kind: math, extract: boxed, right: 1, wrong: -0.5, missing: -1}: the
    grade in the box must equal the label. `count` tasks a step; grades are balanced as far as there
    are episodes of each, so that a constant verifier earns little.
    """

    count: int = 128
    right: float = 1.0
    wrong: float = -0.5
    missing: float = -1.0
    name: str = "verify_own"

    def derive(self, episodes: Sequence[Episode], rng: random.Random) -> list[Task]:
        """Raises ConfigError for episodes of more than one weights version: stale solutions."""
        fresh = [e for e in episodes if e.judged and e.turns and "derived" not in e.task.metadata]
        versions = {v for e in fresh for v in e.weights_versions}
        if len(versions) > 1:
            raise ConfigError(
                f"solutions of the weights versions {sorted(versions)}: not on-policy",
                where=self.name,
                fix="derive tasks only where episodes are of the weights that learn from them",
            )
        return [self.task_of(e) for e in balanced(fresh, self.count, rng)]

    def task_of(self, episode: Episode) -> Task:
        prompt = _ASK.format(
            question=episode.task.prompt,
            solution=episode.turns[-1].text,
            right=self.right,
            wrong=self.wrong,
            missing=self.missing,
        )
        return Task(
            f"{episode.task.id}/verify/{episode.id or episode.seed}",
            prompt,
            episode.task.environment,
            dict(episode.task.payload),
            {"answer": f"{episode.reward:g}"},
            {"derived": self.name},
        )


def balanced(episodes: Sequence[Episode], count: int, rng: random.Random) -> list[Episode]:
    """`count` episodes, as even over their rewards as there are any, in random order."""
    by_reward: dict[float, list[Episode]] = {}
    for episode in episodes:
        by_reward.setdefault(episode.reward, []).append(episode)
    for found in by_reward.values():
        rng.shuffle(found)
    chosen: list[Episode] = []
    while len(chosen) < min(count, len(episodes)):
        chosen += [found.pop() for _, found in sorted(by_reward.items()) if found]
    chosen = chosen[:count]
    rng.shuffle(chosen)
    return chosen
