"""Small parts that the checks of reward papers share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from agentrl.core import (
    Episode,
    Group,
    Message,
    Origin,
    Score,
    SegmentBuilder,
    Status,
    Task,
    TokenScores,
    ToolResult,
    Turn,
)
from agentrl.papers.kit.properties import Property, measured
from agentrl.papers.registry import Measured

T = TypeVar("T")


def wait(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def table(cases: Iterable[tuple[str, float, float]], tolerance: float = 5e-4) -> Measured:
    """A check of numbers: (what, wanted, found), equal within a relative tolerance."""
    return measured(Property(*case, tolerance) for case in cases)


def listed(
    name: str, wanted: Sequence[float], found: Sequence[float]
) -> list[tuple[str, float, float]]:
    """A case for every number of two lists; another length is a case that fails."""
    cases = [(f"{name}: how many", float(len(wanted)), float(len(found)))]
    pairs = zip(wanted, found, strict=False)
    return cases + [(f"{name} [{i}]", float(w), float(f)) for i, (w, f) in enumerate(pairs)]


def episode(
    texts: Sequence[str],
    *,
    prompt: str = "question",
    answers: Sequence[str] = (),
    reference: dict[str, Any] | None = None,
    payload: dict[str, Any] | None = None,
    outcome: dict[str, Any] | None = None,
    reward: float | None = None,
    task: str = "task",
    seed: int = 0,
    version: int = 0,
    logprob: float = -1.0,
) -> Episode:
    """A finished episode of one character a token; `answers[t]` is what a tool said to turn t."""
    builder = SegmentBuilder()
    builder.append([ord(c) for c in prompt], Origin.PROMPT, -1)
    turns = []
    for t, text in enumerate(texts):
        tokens = [ord(c) for c in text]
        builder.append_sampled(tokens, [logprob] * len(tokens), [version] * len(tokens), t)
        turn = Turn(np.array(tokens, np.int32), np.full(len(tokens), logprob, np.float32), text)
        if t < len(answers):
            turn.results = [ToolResult(answers[t])]
            turn.observations = [Message("tool", answers[t])]
            builder.append([ord(c) for c in answers[t]], Origin.OBSERVATION, t)
        turns.append(turn)
    made = Episode(
        Task(task, prompt, payload=payload or {}, reference=reference or {}),
        id=f"{task}/{seed}",
        seed=seed,
        status=Status.COMPLETED,
        prompt=[Message("user", prompt)],
        turns=turns,
        segments=[builder.build()],
        outcome=outcome or {},
    )
    if reward is not None:
        made.scores["reward"] = Score(reward)
    return made


def group(episodes: Sequence[Episode]) -> Group:
    return Group((episodes[0].task.id,), list(episodes))


@dataclass(slots=True)
class Fixed:
    """A reward that always says the same, or reads `outcome[read]`."""

    value: float = 0.0
    read: str = ""
    name: str = "fixed"

    async def score(self, episode: Episode) -> Score:
        return Score(float(episode.outcome[self.read]) if self.read else self.value)


@dataclass(slots=True)
class CharacterModel:
    """A language model over characters: `probability(context, character)`; a `Scorer`."""

    probability: Callable[[str, str], float]

    async def score(
        self,
        tokens: Sequence[int] | np.ndarray,
        start: int = 1,
        *,
        entropy: bool = False,
        hidden: bool = False,
    ) -> TokenScores:
        text = "".join(chr(int(t)) for t in tokens)
        p = [self.probability(text[:i], text[i]) for i in range(start, len(text))]
        return TokenScores(np.log(np.array(p, np.float32)))

    def encode(self, text: str) -> list[int]:
        return [ord(c) for c in text]
