"""LiteLLMChat against a real server on loopback: what is retried, refused, limited, kept."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from openai_server import Answer, completion, fail, reply, say, serving, slowly
from pydantic import BaseModel

from agentrl.core import ChatModel, ConfigError, Image, InfraError, Message, ToolCall
from agentrl.engines import AnswerCache, Budget, Endpoint, LiteLLMChat

QUESTION = [Message("system", "You judge."), Message("user", "Is it good?")]


class Verdict(BaseModel):
    good: bool
    reason: str = ""


def endpoint(base: str, **options: Any) -> Endpoint:
    patience = {"timeout": 5.0, "deadline": 20.0, "attempts": 4, "wait": 0.01} | options
    return Endpoint("hosted_vllm/judge", api_base=base, **patience)


async def test_an_answer_comes_back_with_what_it_cost() -> None:
    async with serving(say("yes")) as server:
        chat = LiteLLMChat(endpoint(server.base, price_in=2.0, price_out=10.0), name="mine")
        assert isinstance(chat, ChatModel)
        got = await chat.chat(QUESTION, temperature=0.5, max_tokens=7, seed=3)
    assert (got.text, got.tokens_in, got.tokens_out, got.cached) == ("yes", 10, 5, False)
    assert got.cost == pytest.approx((10 * 2 + 5 * 10) / 1e6)
    assert got.seconds > 0
    sent = server.requests[0]
    assert sent["model"] == "judge"
    assert [m["content"] for m in sent["messages"]] == ["You judge.", "Is it good?"]
    assert (sent["temperature"], sent["max_tokens"], sent["seed"]) == (0.5, 7, 3)


async def test_calls_results_and_images_reach_the_wire() -> None:
    messages = [
        Message("user", "look", images=[Image(b"\x89PNG", "image/png")]),
        Message("assistant", "", [ToolCall("view", {"path": "a", "n": 1}, id="c1")]),
        Message("tool", "nothing there", call_id="c1", name="view"),
    ]
    async with serving() as server:
        await LiteLLMChat(endpoint(server.base)).chat(messages)
    user, assistant, tool = server.requests[0]["messages"]
    assert user["content"][0] == {"type": "text", "text": "look"}
    assert user["content"][1]["image_url"]["url"] == "data:image/png;base64,iVBORw=="
    call = assistant["tool_calls"][0]
    assert (call["id"], call["function"]["name"]) == ("c1", "view")
    assert json.loads(call["function"]["arguments"]) == {"path": "a", "n": 1}
    assert (tool["role"], tool["tool_call_id"], tool["content"]) == ("tool", "c1", "nothing there")


@pytest.mark.parametrize(
    "trouble",
    [
        fail(500),
        fail(503),
        fail(502),
        fail(429),
        fail(408),
        reply("this is { no JSON"),
        reply(""),
        reply({"choices": []}),
        reply({"id": "x", "object": "chat.completion"}),
    ],
    ids=["500", "503", "502", "429", "408", "garbage", "empty", "no-choices", "no-fields"],
)
async def test_what_may_pass_is_tried_again(trouble: Answer) -> None:
    async with serving(trouble, trouble, say("at last")) as server:
        got = await LiteLLMChat(endpoint(server.base)).chat(QUESTION)
    assert got.text == "at last"
    assert len(server.requests) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
async def test_what_cannot_pass_is_asked_once(status: int) -> None:
    async with serving(default=fail(status, "not like this")) as server:
        with pytest.raises(InfraError, match="not like this") as caught:
            await LiteLLMChat(endpoint(server.base)).chat(QUESTION)
    assert caught.value.cause == "judge_refused"
    assert len(server.requests) == 1


async def test_a_quota_that_is_used_up_is_not_waited_for() -> None:
    used_up = fail(429, "You exceeded your current quota: insufficient_quota")
    async with serving(default=used_up) as server:
        with pytest.raises(InfraError, match="insufficient_quota") as caught:
            await LiteLLMChat(endpoint(server.base)).chat(QUESTION)
    assert caught.value.cause == "judge_refused"
    assert len(server.requests) == 1


async def test_attempts_end() -> None:
    async with serving(default=fail(500, "broken for good")) as server:
        with pytest.raises(InfraError, match=r"4 attempts.*broken for good") as caught:
            await LiteLLMChat(endpoint(server.base)).chat(QUESTION)
    assert caught.value.cause == "judge_down"
    assert server.base in str(caught.value)
    assert len(server.requests) == 4


async def test_the_server_says_how_long_to_wait() -> None:
    async with serving(fail(429, Retry_After="1"), say("ok")) as server:
        await LiteLLMChat(endpoint(server.base)).chat(QUESTION)
    assert server.times[1] - server.times[0] >= 0.95


async def test_a_wait_without_end_is_cut() -> None:
    async with serving(fail(429, Retry_After="86400"), say("ok")) as server:
        chat = LiteLLMChat(endpoint(server.base, max_wait=0.05))
        assert (await asyncio.wait_for(chat.chat(QUESTION), 10)).text == "ok"


async def test_an_attempt_that_hangs_is_given_up_and_tried_again() -> None:
    async with serving(slowly(30, say("late")), say("soon")) as server:
        chat = LiteLLMChat(endpoint(server.base, timeout=0.4))
        got = await asyncio.wait_for(chat.chat(QUESTION), 10)
    assert got.text == "soon"


async def test_the_deadline_of_a_call_counts_all_its_attempts() -> None:
    async with serving(default=fail(500, "still broken")) as server:
        chat = LiteLLMChat(endpoint(server.base, attempts=1000, wait=0.1, deadline=1.0))
        with pytest.raises(InfraError, match=r"deadline.*still broken") as caught:
            await asyncio.wait_for(chat.chat(QUESTION), 10)
    assert caught.value.cause == "judge_down"
    assert 2 <= len(server.requests) < 100


async def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        base = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        with pytest.raises(InfraError) as caught:
            await LiteLLMChat(endpoint(base, attempts=2)).chat(QUESTION)
    assert caught.value.cause == "judge_down"


async def test_no_more_calls_in_flight_than_allowed() -> None:
    async with serving(default=slowly(0.05, say("x"))) as server:
        chat = LiteLLMChat(endpoint(server.base, concurrency=3))
        await asyncio.gather(*(chat.chat(QUESTION, seed=i) for i in range(12)))
    assert len(server.requests) == 12
    assert server.most_in_flight == 3


async def test_the_same_question_is_asked_once_also_at_the_same_time(tmp_path: Path) -> None:
    async with serving(default=slowly(0.2, say("once"))) as server:
        chat = LiteLLMChat(
            endpoint(server.base, price_in=1.0, price_out=1.0),
            cache=AnswerCache(tmp_path / "c.db"),
        )
        first = asyncio.create_task(chat.chat(QUESTION))
        rest = [asyncio.create_task(chat.chat(QUESTION)) for _ in range(20)]
        await asyncio.sleep(0.1)
        first.cancel()
        got = await asyncio.gather(*rest)
        later = await chat.chat(QUESTION)
        await chat.close()
        again = LiteLLMChat(endpoint(server.base), cache=AnswerCache(tmp_path / "c.db"))
        kept = await again.chat(QUESTION)
        await again.close()
    assert {g.text for g in got} == {"once"}
    assert len(server.requests) == 1
    assert later.cached
    assert kept.cached
    assert (kept.text, kept.cost, later.cost) == ("once", 0.0, 0.0)
    assert chat.budget.spent == pytest.approx(15e-6)


async def test_every_part_of_a_question_is_part_of_its_key(tmp_path: Path) -> None:
    class Other(BaseModel):
        bad: bool = False

    cache = AnswerCache(tmp_path / "c.db")
    async with serving(default=say('{"good": true}')) as server:
        chat = LiteLLMChat(endpoint(server.base), cache=cache)
        variants: list[dict[str, Any]] = [
            {},
            {"seed": 1},
            {"temperature": 1.0},
            {"max_tokens": 9},
            {"schema": Verdict},
            {"schema": Other},
            {"first_token": 4},
        ]
        for _ in range(2):
            for options in variants:
                await chat.chat(QUESTION, **options)
            await chat.chat([*QUESTION, Message("user", "Really?")])
        other = LiteLLMChat(endpoint(server.base, extra={"top_p": 0.9}), cache=cache)
        await other.chat(QUESTION)
    assert len(server.requests) == len(variants) + 2


async def test_failures_are_not_kept(tmp_path: Path) -> None:
    async with serving(fail(400), say("fine")) as server:
        chat = LiteLLMChat(endpoint(server.base), cache=AnswerCache(tmp_path / "c.db"))
        with pytest.raises(InfraError):
            await chat.chat(QUESTION)
        assert (await chat.chat(QUESTION)).text == "fine"


async def test_a_broken_cache_is_set_aside_and_costs_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    path.write_bytes(b"this was never a database" * 100)
    async with serving(default=say("fresh")) as server:
        chat = LiteLLMChat(endpoint(server.base), cache=AnswerCache(path))
        assert not (await chat.chat(QUESTION)).cached
        assert (await chat.chat(QUESTION)).cached
        await chat.close()
    assert (tmp_path / "c.db.broken").read_bytes().startswith(b"this was never")


async def test_a_budget_is_never_passed_however_many_calls_are_in_flight() -> None:
    priced = {"price_in": 0.0, "price_out": 1e6}  # a dollar an answer token
    budget = Budget(40.0)
    async with serving(default=slowly(0.02, say("x"))) as server:
        chat = LiteLLMChat(endpoint(server.base, **priced), budget=budget)
        got = await asyncio.gather(
            *(chat.chat(QUESTION, seed=i, max_tokens=10) for i in range(30)),
            return_exceptions=True,
        )
    paid = [g for g in got if not isinstance(g, BaseException)]
    refused = [g for g in got if isinstance(g, InfraError) and g.cause == "budget_spent"]
    # Five tokens an answer, ten reserved: the eighth call leaves 35 spent and no room for ten more.
    assert len(paid) == 7
    assert len(refused) == 23
    assert budget.spent == 35.0
    assert len(server.requests) == 7


async def test_a_budget_needs_a_price() -> None:
    async with serving() as server:
        chat = LiteLLMChat(endpoint(server.base), budget=Budget(1.0))
        with pytest.raises(ConfigError, match="price"):
            await chat.chat(QUESTION)
    assert not server.requests


async def test_the_schema_is_sent_and_the_answer_checked() -> None:
    async with serving(
        say('{"good": true, "reason": "runs"}'),
        say('Sure:\n```json\n{"good": false}\n```\nAnything else?'),
        say('{"good": "perhaps"}'),
    ) as server:
        chat = LiteLLMChat(endpoint(server.base))
        plain, fenced, wrong = [await chat.chat(QUESTION, schema=Verdict, seed=i) for i in range(3)]
    sent = server.requests[0]["response_format"]
    assert sent["type"] == "json_schema"
    assert set(sent["json_schema"]["schema"]["properties"]) == {"good", "reason"}
    assert plain.parsed == Verdict(good=True, reason="runs")
    assert fenced.parsed == Verdict(good=False)
    assert wrong.parsed is None
    assert "good" in wrong.problem


async def test_the_first_tokens_alternatives_are_reported() -> None:
    top = [{"token": "yes", "logprob": -0.1, "bytes": None}]
    top.append({"token": "no", "logprob": -2.4, "bytes": None})
    content = [{"token": "yes", "logprob": -0.1, "bytes": None, "top_logprobs": top}]
    answer = completion({"content": "yes"}, logprobs={"content": content})
    async with serving(reply(answer)) as server:
        got = await LiteLLMChat(endpoint(server.base)).chat(QUESTION, first_token=5, max_tokens=1)
    assert got.first_token == {"yes": -0.1, "no": -2.4}
    assert (server.requests[0]["logprobs"], server.requests[0]["top_logprobs"]) == (True, 5)


async def test_a_key_that_is_not_there_is_said_before_anything_is_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    async with serving() as server:
        with pytest.raises(ConfigError, match="MY_KEY"):
            await LiteLLMChat(endpoint(server.base, api_key_env="MY_KEY")).chat(QUESTION)
        monkeypatch.setenv("MY_KEY", "secret")
        await LiteLLMChat(endpoint(server.base, api_key_env="MY_KEY")).chat(QUESTION)
    assert len(server.requests) == 1


def test_the_library_is_imported_late_and_never_calls_out() -> None:
    code = """
import socket, sys
import agentrl.engines.litellm as room
assert "litellm" not in sys.modules
def refuse(*args, **kwargs):
    raise SystemExit(f"the network was asked: {args}")
socket.getaddrinfo = socket.socket.connect = refuse
from agentrl.engines.litellm.client import litellm
assert litellm().telemetry is False
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
