"""Open questions as multiple choice, so that a letter can be checked (paper 55, VMR).

The reward is that of any letter: `{kind: choice, extract: line, reference: letter}`.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from agentrl.core import ConfigError, Episode, Task, derive_seed
from agentrl.environments.answers import AnswerEnvironment, after_thinking
from agentrl.rewards.verifiers.extract import answer_in
from agentrl.rewards.verifiers.text import chosen_letter

LETTERS = "ABCDEFGHIJ"
HOW = 'Which response is best? End with one line such as "Answer: A".'


@dataclass(slots=True, frozen=True)
class Preference:
    """One question with a response that is better than the others."""

    id: str
    question: str
    better: str
    others: tuple[str, ...]


def as_choice(pair: Preference, *, seed: int = 0, turned: int = 0) -> Task:
    """The responses in an order drawn from (seed, id); the reference is the better one's letter.

    Args:
        turned: rotate that order by so many places; all rotations of a pair together leave nothing
            to a liking for a letter.

    Raises:
        ConfigError: fewer than two responses, more than ten, or the better one among the others.
    """
    options = [pair.better, *pair.others]
    if not 2 <= len(options) <= len(LETTERS) or pair.better in pair.others:
        raise ConfigError(
            f"{len(options)} responses, of which one must be better than the rest",
            where=f"preference {pair.id}",
            fix=f"give 2 to {len(LETTERS)} different ones",
        )
    order = list(range(len(options)))
    random.Random(derive_seed(seed, "choice", pair.id)).shuffle(order)
    order = [order[(i + turned) % len(order)] for i in range(len(order))]
    shown = [f"({LETTERS[i]})\n{options[index]}" for i, index in enumerate(order)]
    return Task(
        f"{pair.id}/{turned}" if turned else pair.id,
        "\n\n".join([pair.question, *shown, HOW]),
        environment="choices",
        payload={"options": [options[index] for index in order]},
        reference={"letter": LETTERS[order.index(0)]},
    )


def make_tasks(
    pairs: Iterable[Preference], *, seed: int = 0, both_orders: bool = False
) -> Iterator[Task]:
    """One task a pair, or one for each rotation of its responses (`both_orders`)."""
    for pair in pairs:
        for turned in range(len(pair.others) + 1 if both_orders else 1):
            yield as_choice(pair, seed=seed, turned=turned)


def from_rollouts(question: str, episodes: Sequence[Episode], margin: float) -> Preference | None:
    """The best against the worst of a task's own rollouts; None when their rewards are closer than
    `margin`: an unclear pair teaches noise."""
    judged = sorted((e for e in episodes if e.judged and e.turns), key=lambda e: e.reward)
    if len(judged) < 2 or judged[-1].reward - judged[0].reward < margin:
        return None
    worst, best = judged[0], judged[-1]
    if worst.turns[-1].text == best.turns[-1].text:
        return None
    return Preference(best.id, question, best.turns[-1].text, (worst.turns[-1].text,))


class ChoiceEnvironment(AnswerEnvironment):
    """A question with lettered responses."""

    def grade(self, answer: str) -> dict[str, Any]:
        """{"letter": as given, "" when unreadable; "right"}."""
        letter = chosen_letter(answer_in(after_thinking(answer), "line") or "") or ""
        return {"letter": letter, "right": letter == self.task.reference["letter"]}
