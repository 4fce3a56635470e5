"""Checklists from reference dialogues: sound drafts are taken, others are written again."""

from __future__ import annotations

import re

import numpy as np

from agentrl.core import Episode, Message, Task, ToolCall, ToolResult, Turn
from agentrl.rewards import judge
from agentrl.rewards.data.checklists import ChecklistWriter, lint_items, scaled
from agentrl.rewards.judges.scripted import ScriptedChat
from agentrl.rewards.process.checklist import ChecklistItem, ChecklistReward

FOUND = {"id": "found", "question": "Was it searched?", "weight": 1, "focus": "tool_calls"}
TOLD = {"id": "told", "question": "Was the time told?", "weight": 1, "needs": ["found"]}


def dialogue() -> Episode:
    """Two wishes; the first takes a call and an answer, the second an answer."""

    def turn(text: str, observed: str, *calls: ToolCall) -> Turn:
        role = "tool" if calls else "user"
        none = np.zeros(0, np.int32)
        made = Turn(none, none.astype(np.float32), text, list(calls))
        made.results = [ToolResult(observed) for _ in calls]
        made.observations = [Message(role, observed)] if observed else []
        return made

    return Episode(
        Task("d", "", reference={"seen": 1}),
        prompt=[Message("user", "When does it leave?")],
        turns=[
            turn("", "08:15", ToolCall("find", {})),
            turn("It leaves at 08:15.", "Thanks. Where?"),
            turn("It leaves from platform 3.", ""),
        ],
        outcome={"user_turns": [0, 0, 1]},
        tools=[{"function": {"name": "find"}}],
    )


def strict_judge() -> ScriptedChat:
    """Searched: when a step shows the time; told: when it says so; platform likewise."""

    def answer(text: str, seed: int):
        step = re.search(r"newest step of the agent:\n<data-\w+ step>\n(.*?)\n</data", text, re.S)
        assert step is not None
        item = text.split("The item:")[1]
        words = {"platform": "platform", "told": "leaves at"}
        word = next((w for key, w in words.items() if key in item), "08:15")
        return {"satisfied": word in step[1]}

    return ScriptedChat(answer)


def writer(*drafts: object) -> tuple[ScriptedChat, list[str]]:
    """Writes these for the first turn, one sound item for the second; and what it was told."""
    left, told = list(drafts), []

    def answer(text: str, seed: int):
        if "Where?" in text.split("What the reference did")[0]:
            return {"items": [{"id": "p", "question": "platform told?", "weight": 1}]}
        told.append(text.rpartition("last draft:")[2])
        return left.pop(0)

    return ScriptedChat(answer), told


async def test_a_sound_draft_becomes_the_checklist_that_the_reference_satisfies():
    model, _ = writer({"items": [FOUND, TOLD]})
    (task,) = await ChecklistWriter(model, strict_judge()).tasks([dialogue()])
    assert task.reference["seen"] == 1
    first, second = task.reference["checklist"]
    assert [i["weight"] for i in first] == [0.5, 0.5]
    assert [i["id"] for i in second] == ["p"]
    played = dialogue()
    played.task = task
    assert (await judge(ChecklistReward(strict_judge()), played)).value == 1.0


async def test_what_is_wrong_is_told_and_written_again():
    vacuous = {"id": "v", "question": "Is the platform known?", "weight": 1}
    circle = {**FOUND, "needs": ["told"]}
    model, told = writer({"items": [circle, TOLD]}, {"items": [FOUND, vacuous]}, {"items": [TOLD]})
    found = ChecklistWriter(model, strict_judge(), tries=3)
    assert await found.tasks([dialogue()]) == []
    assert "need each other in a circle" in told[1]
    assert "the reference does not earn 'v'" in told[2]
    assert found.rejected == {"d": ["turn 0: 'told' needs 'found', which is not there"]}


async def test_an_item_that_comes_true_before_what_it_needs_is_no_use():
    """It would never be credited: the judge finds the time told by the tool's answer already."""
    model, _ = writer(*[{"items": [FOUND, {**TOLD, "question": "Is the time known?"}]}] * 3)
    found = ChecklistWriter(model, strict_judge())
    assert await found.tasks([dialogue()]) == []
    assert found.rejected["d"][0].startswith("turn 0: the reference does not earn 'told'")


async def test_an_item_that_idleness_satisfies_is_refused():
    model, _ = writer(*[{"items": [TOLD | {"needs": []}]}] * 3)
    lenient = ScriptedChat(lambda text, seed: {"satisfied": True})
    found = ChecklistWriter(model, lenient)
    assert await found.tasks([dialogue()]) == []
    assert "'told' is satisfied by an agent that does nothing" in found.rejected["d"][0]


async def test_a_draft_that_cannot_be_read_is_no_checklist():
    model, _ = writer("garbage", {"items": []}, {"items": [{**FOUND, "weight": -1}]})
    found = ChecklistWriter(model, strict_judge())
    assert await found.tasks([dialogue()]) == []
    assert "cannot be read" in found.rejected["d"][0]


def test_lint_without_a_judge():
    def item(name: str, **given: object) -> ChecklistItem:
        return ChecklistItem.model_validate({"id": name, "question": name, "weight": 0.5} | given)

    def problems(*items: ChecklistItem, turn: int = 0) -> str:
        return "; ".join(lint_items(scaled(items), turn, dialogue()))

    assert problems(item("a"), item("b", focus="tool_calls")) == ""
    assert "asks what another asks" in problems(item("a"), item("b", question=" A "))
    assert "at most 8" in problems(*(item(str(n)) for n in range(9)))
    assert "which is nothing" in problems(item("a", focus="mood"))
    assert "reference makes none" in problems(item("a", focus="tool_calls"), turn=1)
    assert "stands twice" in problems(item("a"), item("a", question="other"))
