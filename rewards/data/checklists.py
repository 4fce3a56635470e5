"""Checklists from reference dialogues: a model writes them, rules and the dialogue itself lint
them (CM2, paper 23).

A reference dialogue is a finished episode that went well (recorded, or by a stronger model). Of
every user turn a model writes the items that a good answer must satisfy. A draft is only taken
when it is sound: what the reference did satisfies it, and doing nothing does not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from pydantic import BaseModel, Field

from agentrl.core import ChatModel, Episode, Task, Turn
from agentrl.rewards.judges.template import Template
from agentrl.rewards.process.checklist import (
    Checklist,
    ChecklistItem,
    ChecklistReward,
    dialogue_before,
    lint_turn,
    steps_by_turn,
    turn_credit,
)

FOCUSES = ("message", "tool_calls", "tool_results")
MOST_ITEMS = 8


class Draft(BaseModel):
    """The items of one user turn."""

    items: list[ChecklistItem] = Field(min_length=1)


WRITE = Template(
    "cm2_write",
    "You write a checklist for one turn of a dialogue between a user and an agent with tools: what"
    " any good answer to the user's last wish must have done, each item a question with yes or no"
    " that can be decided from messages and calls alone. Do not ask for the reference's wording,"
    " nor for its order where another would do. `needs` names items that must come first, `strict`"
    " those without which the user cannot go on, `focus` what an item looks at: message, tool_calls"
    " or tool_results. Weights say how much an item counts.",
    "The dialogue before the turn:\n{before}\n\nWhat the reference did in it:\n{reference}\n\n"
    "The tools there are:\n{tools}\n\nWhat was wrong with your last draft:\n{problems}",
)


@dataclass(slots=True)
class ChecklistWriter:
    """Writes `Task.reference["checklist"]` from reference dialogues.

    Items of a turn whose weights do not sum to 1 are scaled. A draft with problems is written
    again with them named, `tries` times in all; a dialogue that stays unsound gives no task.

    Attributes:
        judge: looks whether the reference satisfies an item, and an agent that did nothing.
        rejected: why dialogues of the last call gave no task, by task id.
    """

    writer: ChatModel
    judge: ChatModel
    tries: int = 3
    temperature: float = 0.7
    reference: str = "checklist"
    name: str = "checklists"
    rejected: dict[str, list[str]] = field(default_factory=dict)

    async def tasks(self, dialogues: Sequence[Episode]) -> list[Task]:
        """Tasks with a checklist, of the dialogues that one could be written for."""
        found = await asyncio.gather(*(self.write(d) for d in dialogues))
        self.rejected = {
            d.task.id: problems
            for d, (checklist, problems) in zip(dialogues, found, strict=True)
            if checklist is None
        }
        return [
            replace(d.task, reference={**d.task.reference, self.reference: _plain(checklist)})
            for d, (checklist, _) in zip(dialogues, found, strict=True)
            if checklist is not None
        ]

    async def write(self, dialogue: Episode) -> tuple[Checklist | None, list[str]]:
        """(the checklist, nothing), or (None, what is wrong with the last drafts)."""
        count = 1 + max(dialogue.outcome.get("user_turns") or [0], default=0)
        turns = await asyncio.gather(*(self._turn(dialogue, t, count) for t in range(count)))
        problems = [p for _, wrong in turns for p in wrong]
        if problems:
            return None, problems
        return Checklist(turns=[items for items, _ in turns]), []

    async def _turn(
        self, dialogue: Episode, turn: int, count: int
    ) -> tuple[list[ChecklistItem], list[str]]:
        items: list[ChecklistItem] = []
        problems = ["(this is the first)"]
        for attempt in range(self.tries):
            reply = await self.writer.chat(
                WRITE.render(_question(dialogue, turn, count, problems)),
                schema=Draft,
                temperature=self.temperature,
                seed=attempt,
            )
            if not isinstance(reply.parsed, Draft):
                problems = [f"turn {turn}: it cannot be read: {reply.problem}"]
                continue
            items = scaled(reply.parsed.items)
            problems = lint_items(items, turn, dialogue)
            problems = problems or await self._judged(dialogue, turn, count, items)
            if not problems:
                return items, []
        return items, problems

    async def _judged(
        self, dialogue: Episode, turn: int, count: int, items: Sequence[ChecklistItem]
    ) -> list[str]:
        """Items that the reference does not earn, or that an agent satisfies who says "ok"."""
        steps = steps_by_turn(dialogue, count)[turn]
        if not steps:
            return [f"turn {turn}: the reference says nothing in it"]
        reward = ChecklistReward(self.judge)
        idle = _idle(dialogue, steps[0])
        asked = [(step, item) for step in steps for item in items]
        reached, vacuous = await asyncio.gather(
            asyncio.gather(*(reward.satisfied(dialogue, step, item) for step, item in asked)),
            asyncio.gather(*(reward.satisfied(idle, steps[0], item) for item in items)),
        )
        held = np.array([bool(yes) for yes, _ in reached]).reshape(len(steps), len(items))
        earned: list[bool] = turn_credit(items, held).flips.max(axis=0).tolist()
        problems = [
            f"turn {turn}: the reference does not earn {item.id!r} (not satisfied, or not after "
            "what it needs)"
            for item, yes in zip(items, earned, strict=True)
            if not yes
        ]
        return problems + [
            f"turn {turn}: {item.id!r} is satisfied by an agent that does nothing"
            for item, (yes, _) in zip(items, vacuous, strict=True)
            if yes
        ]


def lint_items(items: Sequence[ChecklistItem], turn: int, dialogue: Episode) -> list[str]:
    """What can be seen to be wrong without a judge: `lint_turn`'s, questions that stand twice, too
    many items, a focus that does not exist or looks at calls where the reference made none."""
    problems = lint_turn(items, turn)
    questions = [" ".join(item.question.lower().split()) for item in items]
    problems += [
        f"turn {turn}: {item.id!r} asks what another asks"
        for n, item in enumerate(items)
        if questions[n] in questions[:n]
    ]
    if len(items) > MOST_ITEMS:
        problems.append(f"turn {turn}: {len(items)} items; at most {MOST_ITEMS}")
    steps = steps_by_turn(dialogue, turn + 1)[turn]
    calls = any(dialogue.turns[s].calls for s in steps)
    for item in items:
        if item.focus not in FOCUSES:
            problems.append(f"turn {turn}: {item.id!r} looks at {item.focus!r}, which is nothing")
        elif item.focus != "message" and not calls:
            problems.append(f"turn {turn}: {item.id!r} looks at calls; the reference makes none")
    return problems


def scaled(items: Sequence[ChecklistItem]) -> list[ChecklistItem]:
    """Weights that sum to 1."""
    total = sum(item.weight for item in items)
    return [item.model_copy(update={"weight": item.weight / total}) for item in items]


def _plain(checklist: Checklist) -> list[list[dict[str, object]]]:
    return [[item.model_dump() for item in items] for items in checklist.turns]


def _question(
    dialogue: Episode, turn: int, count: int, problems: Sequence[str]
) -> dict[str, object]:
    steps = steps_by_turn(dialogue, count)[turn]
    first, last = (steps[0], steps[-1]) if steps else (len(dialogue.turns), -1)
    before = dialogue_before(dialogue, first)
    names = [spec["function"]["name"] for spec in dialogue.tools]
    return {
        "before": before,
        "reference": dialogue_before(dialogue, last + 1).removeprefix(before).strip(),
        "tools": ", ".join(names) or "(not listed)",
        "problems": "\n".join(problems),
    }


def _idle(dialogue: Episode, step: int) -> Episode:
    """The dialogue up to a step, in which the agent says "ok" and calls nothing."""
    said = dialogue.turns[step]
    nothing = Turn(said.tokens[:0], said.logprobs[:0], "ok")
    return replace(dialogue, turns=[*dialogue.turns[:step], nothing])
