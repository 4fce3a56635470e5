"""A teacher behind an API gives the hints: over a real wire, once per task, down without harm."""

from __future__ import annotations

import sys
from pathlib import Path

from guidance_kit import TASK, Rollouts, group

from agentrl.core import ChatModel, Task
from agentrl.core.naming import named
from agentrl.guidance import GuidanceSettings, Means, Sources, build_guidance
from agentrl.training.rewards import chat_models

sys.path.append(str(Path(__file__).parents[1] / "engines"))
from openai_server import fail, say, serving

HINTS = '{"concept": "a lever", "method": "pull it twice", "detailed": "twice, then wait"}'


def subject(base: str, attempts: int = 1):
    model = {"model": "hosted_vllm/teacher", "api_base": base, "attempts": attempts}
    tier = {"kind": "teacher", "levels": 3, "model": model}
    settings = GuidanceSettings.model_validate({"kind": "ghpo", "ladder": [tier]})
    chat = chat_models(named)
    assert isinstance(chat(model, "here"), ChatModel)
    return build_guidance(settings, Sources(chat=chat, named=named), steps=10)


async def test_a_teacher_sees_the_reference_and_the_attempt_and_is_asked_once_per_task() -> None:
    async with serving(default=say(HINTS)) as server:
        helper = subject(server.base)
        rollouts = Rollouts(lambda a, _: float("twice" in a.guide.note["hint"]))
        for step in (1, 2):
            helped = await helper.assist([group([0, 0])], step, step, Means(rollouts))
        assert len(server.requests) == 1
        asked = server.requests[0]["messages"][-1]["content"]
    assert TASK.prompt in asked
    assert TASK.reference["solution"] in asked
    assert "done" in asked  # what the attempt said
    assert [e.guidance["hint"] for e in helped.groups[0].episodes] == ["pull it twice"] * 2
    assert rollouts.levels == [1, 1, 2, 2] * 2


async def test_hints_of_a_teacher_outlive_a_restart() -> None:
    async with serving(say(HINTS), default=fail(500)) as server:
        helper = subject(server.base)
        await helper.assist([group([0])], 1, 0, Means(Rollouts(lambda *_: 1.0)))
        resumed = subject(server.base)
        resumed.load_state_dict(helper.state_dict())
        rollouts = Rollouts(lambda *_: 1.0)
        await resumed.assist([group([0])], 2, 0, Means(rollouts))
    assert rollouts.asked[0].guide.note["hint"] == "a lever"


async def test_a_teacher_that_is_down_does_no_harm() -> None:
    async with serving(default=fail(500)) as server:
        helper = subject(server.base)
        failed, other = group([0, 0]), group([0, 1], Task("easy", ""))
        helped = await helper.assist([failed, other], 1, 0, Means(Rollouts(lambda *_: 1.0)))
    assert helped.groups == [failed, other]
    assert helped.rollouts == []
