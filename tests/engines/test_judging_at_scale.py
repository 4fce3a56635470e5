"""Judges of rewards over a real server: all at once, each question once, outages and limits."""

from __future__ import annotations

import asyncio
import socket
from types import SimpleNamespace
from typing import Any

import pytest
from openai_server import Answer, OpenAIServer, fail, say, serving

from agentrl.core import Episode, InfraError, Message, Score, Task, Turn
from agentrl.engines import AnswerCache, Budget, Endpoint, LiteLLMChat
from agentrl.engines.litellm import client
from agentrl.rewards import judge
from agentrl.rewards.judges.rubric import Rubric, RubricItem

ITEMS = [RubricItem(id=f"i{n}", question=f"is it {n}?", weight=1.0) for n in range(20)]
FULL = say('{"share": 1.0}')


def endpoint(base: str, **options: Any) -> Endpoint:
    patience = {"timeout": 60.0, "deadline": 200.0, "wait": 0.05, "concurrency": 200} | options
    return Endpoint("hosted_vllm/judge", api_base=base, **patience)


def episode(number: int) -> Episode:
    turn = Turn([], [], f"answer {number}")  # type: ignore[arg-type]
    task = Task("t", "What?")
    return Episode(task, f"t-{number}", prompt=[Message("user", "What?")], turns=[turn])


def when_there(server: OpenAIServer, count: int) -> Answer:
    """Full marks, once `count` requests wait for them."""
    complete = asyncio.Event()

    async def answer(body: dict[str, Any]) -> Any:
        if len(server.requests) >= count:
            complete.set()
        await complete.wait()
        return await FULL(body)

    return answer


async def judged(chat: LiteLLMChat, count: int = 10) -> list[Score]:
    rubric, episodes = Rubric(chat, ITEMS), [episode(n) for n in range(count)]
    return list(await asyncio.gather(*(judge(rubric, e) for e in episodes)))


async def test_all_items_of_all_episodes_are_in_flight_at_once_and_asked_once(tmp_path) -> None:
    """No question is answered before all are there."""
    async with serving() as server:
        server.default = when_there(server, 200)
        chat = LiteLLMChat(endpoint(server.base), cache=AnswerCache(tmp_path / "j.db"))
        scores = await judged(chat)
        again = await judged(chat)
        await chat.close()
    assert len(server.requests) == 200
    assert [s.value for s in scores] == [s.value for s in again] == [1.0] * 10


async def test_an_outage_delays_judging_and_changes_no_score() -> None:
    """First nobody listens, then the server says that it is not ready, then it answers."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    chat = LiteLLMChat(endpoint(f"http://127.0.0.1:{port}/v1"))
    asking = asyncio.create_task(judged(chat, 2))
    await asyncio.sleep(0.3)
    assert not asking.done()
    loop = asyncio.get_running_loop()
    server = OpenAIServer()
    until = loop.time() + 0.5

    async def recover(body: dict[str, Any]) -> Any:
        return await (fail(503) if loop.time() < until else FULL)(body)

    server.default = recover
    async with serving(default=recover, port=port):
        scores = await asking
    assert loop.time() > until
    assert [(s.value, s.abstained) for s in scores] == [(1.0, False)] * 2


def test_the_defaults_sit_out_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even when every wait is as short as its jitter allows, and refusals come at once."""
    monkeypatch.setattr(client.random, "uniform", lambda low, high: low)
    default = Endpoint("hosted_vllm/judge")
    asking = client.Client(default)
    states = [SimpleNamespace(attempt_number=n, outcome=None) for n in range(1, default.attempts)]
    waits = [asking._pause(state) for state in states]  # type: ignore[arg-type]
    assert 60.0 < sum(waits) < default.deadline


async def test_a_spend_limit_ends_judging_with_a_clear_cause() -> None:
    """What was judged before stays; the others get no verdict, which is not a zero."""
    dear = {"price_in": 0.0, "price_out": 1e6}  # a dollar a token: five an answer
    async with serving(default=FULL) as server:
        chat = LiteLLMChat(endpoint(server.base, **dear), budget=Budget(1024.0 + 2 * 20 * 5))
        rubric, episodes = Rubric(chat, ITEMS), [episode(n) for n in range(4)]
        found: list[float | str] = []
        told: list[str] = []
        for e in episodes:
            try:
                found.append((await judge(rubric, e)).value)
            except InfraError as error:
                found.append(error.cause)
                told.append(str(error))
    assert all("US dollars are spent" in text for text in told)
    assert found == [1.0, 1.0, "budget_spent", "budget_spent"]
    assert [e.judged for e in episodes] == [True, True, False, False]
    assert chat.budget.spent <= 1024.0 + 200
