"""Hints that a model writes: the current policy (SAGE), or a teacher behind an API."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, Field, create_model

from agentrl.core import ChatModel, InfraError, Message, Task, derive_seed
from agentrl.guidance.hints import Ask, clip
from agentrl.guidance.settings import Tier

NAMES = ("concept", "method", "detailed")
"""What the levels of a model's hints are, as in SAGE; beyond three they are numbered."""
TUTOR = (
    "You are a tutor. A student could not do the task below; you know how it is done. Write"
    " {count} hints of growing detail. Never reveal the answer itself.\n\nTask:\n{task}\n\n"
    "How it is done:\n{reference}\n\nWhat the student did:\n{attempt}\n\n"
    "Answer with one JSON object whose keys are {names}."
)
LONGEST = 6000


@dataclass(slots=True)
class Asked:
    """All levels of a task in one JSON answer, or one text a level; the last good hint of a task
    is kept for when an answer cannot be read.

    Attributes:
        fresh: ask anew at each visit (the policy changes); else once per task.
        failed: answers that could not be read, or that the model could not give.
    """

    tier: Tier
    model: ChatModel
    fresh: bool = True
    temperature: float = 1.0
    kept: dict[str, list[str]] = field(default_factory=dict)
    failed: int = field(default=0, init=False)
    _seen: dict[str, tuple[int, list[str]]] = field(default_factory=dict, init=False)

    @property
    def levels(self) -> int:
        return self.tier.levels

    async def hint(self, ask: Ask, level: int) -> str | None:
        if self.tier.answer == "text":
            return await self._one(ask, level)
        if not self.fresh and ask.task.id in self.kept:
            return self._at(ask.task.id, level)
        seed, found = self._seen.get(ask.task.id, (-1, []))
        if seed != ask.seed:  # all levels of a visit come from one answer
            found = await self._all(ask)
            self._seen[ask.task.id] = ask.seed, found
        return found[level - 1] if found else self._at(ask.task.id, level)

    def state_dict(self) -> dict[str, list[str]]:
        return {task: list(texts) for task, texts in self.kept.items()}

    def load_state_dict(self, state: dict[str, list[str]]) -> None:
        self.kept = {task: list(texts) for task, texts in state.items()}

    async def _one(self, ask: Ask, level: int) -> str | None:
        text = await self._ask(ask, level, None)
        kept = self.kept.setdefault(ask.task.id, [""] * self.levels)
        if text and text.strip():
            kept[level - 1] = text.strip()
        return kept[level - 1] or None

    async def _all(self, ask: Ask) -> list[str]:
        names = level_names(self.levels)
        fields: dict[str, Any] = {name: (str, Field(min_length=1)) for name in names}
        schema: type[BaseModel] = create_model("Hints", **fields)
        found = await self._ask(ask, 0, schema)
        if not found:
            return []
        texts = [str(json.loads(found)[name]) for name in names]
        self.kept[ask.task.id] = texts
        return texts

    async def _ask(self, ask: Ask, level: int, schema: type[BaseModel] | None) -> str:
        """The answer, as JSON when a schema is given; "" when there is none."""
        names = level_names(self.levels)
        text = (self.tier.prompt or TUTOR).format(
            task=ask.task.prompt,
            reference=reference_text(ask.task),
            level=level,
            count=self.levels,
            names=", ".join(names),
            attempt=attempt_text(ask),
        )
        seed = derive_seed(ask.seed, "hint", ask.task.id, level)
        try:
            reply = await self.model.chat(
                [Message("user", text)],
                schema=schema,
                temperature=self.temperature,
                max_tokens=self.tier.tokens,
                seed=seed,
            )
        except InfraError:
            self.failed += 1
            return ""
        if schema is None:
            return reply.text
        if reply.parsed is None:
            self.failed += 1
            return ""
        return reply.parsed.model_dump_json()

    def _at(self, task: str, level: int) -> str | None:
        kept = self.kept.get(task, ())
        return kept[level - 1] if level <= len(kept) else None


def level_names(count: int) -> list[str]:
    """Keys of the JSON answer."""
    return list(NAMES[:count]) if count <= len(NAMES) else [f"hint_{n + 1}" for n in range(count)]


def reference_text(task: Task) -> str:
    """What is privileged of a task, for a model that may see it."""
    lines = [f"{key}: {value}" for key, value in task.reference.items() if value]
    return clip("\n".join(lines), LONGEST)


def attempt_text(ask: Ask) -> str:
    """The failed attempt that the hint is about, or the first of the group."""
    episode = ask.attempt or next(iter(ask.episodes), None)
    if episode is None:
        return "(nothing yet)"
    said = [turn.text for turn in episode.turns]
    return clip("\n".join(said), LONGEST)
