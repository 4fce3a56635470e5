"""Multiple choice: options in another order (ACRE, paper 25), letters evened out (paper 11)."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from agentrl.core import ChatModel, Check, Episode, Message, Score, Task, derive_seed
from agentrl.rewards.verifiers.extract import extract
from agentrl.rewards.verifiers.text import chosen_letter

LETTERS = "ABCDEFGHIJ"


def shuffled(count: int, rng: random.Random) -> list[int]:
    """A permutation in which no option keeps its letter (Sattolo's): position i shows order[i].

    One that left the chosen letter in place would not notice a policy that sticks to letters.
    """
    order = list(range(count))
    for i in range(count - 1, 0, -1):
        j = rng.randrange(i)
        order[i], order[j] = order[j], order[i]
    return order


def listed(options: Sequence[str]) -> str:
    return "\n".join(f"{LETTERS[i]}. {option}" for i, option in enumerate(options))


@dataclass(slots=True)
class ShuffleConsistency:
    """Does the same reasoning lead to the same option when the options are in another order?

        fmt + { 1 + a1 both right; 1 - a2 only the first; a3 only the second; 0 none }

    The second answer: the trace up to the answer, then the shuffled options, asked of `model` (the
    policy behind a chat interface). Letters in the trace are rewritten to the options' contents. In
    order for any setting of 0 <= a3 < 1 - a2 and a1 > 0 (the paper's values are not published).

    Options: `Task.payload["options"]`; right: the letter in `Task.reference["answer"]`.
    """

    model: ChatModel
    extract: str = "last"
    both: float = 0.5
    first_only: float = 0.5
    second_only: float = 0.2
    seed: int = 0
    name: str = "shuffle_consistency"

    def __post_init__(self) -> None:
        if not (self.both > 0 and 0 < self.second_only < 1 - self.first_only):
            raise ValueError("the tiers must be ordered: both > first only > second only > none")

    async def score(self, episode: Episode) -> Score:
        options = episode.task.payload.get("options")
        gold = str(episode.task.reference.get("answer", ""))
        if not options or gold not in LETTERS[: len(options)] or not episode.turns:
            return Score(abstained=True, evidence="no options or no right letter")
        wanted = LETTERS.index(gold)
        answer = extract(episode, self.extract)
        first = _picked(answer, len(options))
        order = shuffled(len(options), random.Random(derive_seed(self.seed, episode.task.id)))
        reply = await self.model.chat(self._again(episode, options, order), max_tokens=16)
        letter = _picked(reply.text, len(options))
        second = None if letter is None else order[letter]
        value = tier(
            first == wanted, second == wanted, self.both, self.first_only, self.second_only
        )
        checks = [
            Check("first", float(first == wanted), first == wanted),
            Check("second", float(second == wanted), second == wanted),
            Check("consistent", float(first == second), first == second),
        ]
        return Score(value, checks, evidence=f"order {order}", cost=reply.cost)

    def _again(self, episode: Episode, options: Sequence[str], order: list[int]) -> list[Message]:
        trace = by_content(episode.turns[-1].text, options)
        question = episode.task.payload.get("question", episode.task.prompt)
        asked = listed([options[i] for i in order])
        return [
            Message("user", f"{question}\n\n{asked}"),
            Message("assistant", trace),
            Message("user", "Which option is that? Reply with its letter only."),
        ]


def tier(
    first: bool, second: bool, both: float = 0.5, first_only: float = 0.5, second_only: float = 0.2
) -> float:
    if first:
        return 1.0 + both if second else 1.0 - first_only
    return second_only if second else 0.0


def by_content(trace: str, options: Sequence[str]) -> str:
    """Option letters in a text replaced by what they stand for, so that it survives shuffling."""
    allowed = LETTERS[: len(options)]
    pattern = (
        rf"\b([Oo]ption|[Cc]hoice|[Aa]nswer(?: is)?:?)\s*\(?([{allowed}])\b\)?|\(([{allowed}])\)"
    )

    def content(found: re.Match[str]) -> str:
        letter = found[2] or found[3]
        said = f'"{options[LETTERS.index(letter)]}"'
        return f"{found[1]} {said}" if found[1] else said

    return re.sub(pattern, content, trace)


def _picked(text: str | None, count: int) -> int | None:
    letter = chosen_letter(text or "", LETTERS[:count])
    return None if letter is None else LETTERS.index(letter)


def same_option_rate(pairs: Sequence[tuple[object, object]]) -> float:
    """OSCR: share of rollouts in which both answers are the same option content."""
    return sum(a == b for a, b in pairs) / len(pairs) if pairs else 0.0


def rebalanced(tasks: Sequence[Task], rng: random.Random) -> list[Task]:
    """The tasks with their options rotated so that right letters are as even as can be."""
    found = []
    used: Counter[int] = Counter()
    for task in tasks:
        options = list(task.payload["options"])
        at = LETTERS.index(str(task.reference["answer"]))
        least = min(used[i] for i in range(len(options)))
        target = rng.choice([i for i in range(len(options)) if used[i] == least])
        options[at], options[target] = options[target], options[at]
        used[target] += 1
        payload = {**task.payload, "options": options}
        found.append(
            replace(task, payload=payload, reference={**task.reference, "answer": LETTERS[target]})
        )
    return found
