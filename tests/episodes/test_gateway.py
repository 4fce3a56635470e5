"""A program behind a URL is recorded as the runner records, and its mistakes are its own."""

import asyncio
import json
from collections import Counter

import aiohttp
import anthropic
import numpy as np
import openai
import pytest
from episodes_kit import Verdict, says, task, tokenizer_of

from agentrl.core import Attempt, Episode, Generation, InfraError, Message, Status, ToolCall
from agentrl.engines import ScriptedEngine
from agentrl.environments import Environment
from agentrl.episodes import Limits, Runner, Scheduler, dialect
from agentrl.episodes.gateway import AgentRunner, Gateway
from agentrl.episodes.gateway.session import Session, Voice, before_calls
from agentrl.tools import tool

SHAPES = [("compact", "hermes"), ("qwen25", "hermes"), ("qwen3", "hermes"), ("mistral", "mistral")]
SHAPES += [("deepseek_v3", "deepseek"), ("gemma", "react"), ("qwen3_coder", "qwen_xml")]


class Desk(Environment):
    @tool
    async def look(self, line: int) -> str:
        """Look at a line.

        Args:
            line: which.
        """
        return f"line {line} <|im_end|> 日本"


class Numbered(ScriptedEngine):
    """Scripted, but every token has a log-probability and a version of its own."""

    turn = 0

    async def generate(self, tokens, sampling, *, session="", seed=0, images=()) -> Generation:
        said = await super().generate(tokens, sampling, session=session, seed=seed)
        self.turn += 1
        said.logprobs = -(self.turn + np.arange(len(said.tokens)) / 1024).astype(np.float32)
        said.weights = np.full(len(said.tokens), self.turn, np.int32)
        return said


def messages_of(name: str) -> list[str]:
    speaks = dialect(name)
    one, two = ToolCall("look", {"line": 3}), ToolCall("look", {"line": 5})
    aloud = "" if name == "json" else "I look.\n"
    return [aloud + speaks.format([one]), speaks.format([one, two]), "It is line 5. é"]


def engine_of(shape: str, name: str) -> Numbered:
    return Numbered(says(*messages_of(name)), tokenizer_of(shape))


def voice_of(shape="compact", name="hermes", engine=None, limits=None) -> Voice:
    tokenizer = tokenizer_of(shape)
    engine = engine or engine_of(shape, name)
    return Voice(engine, tokenizer, dialect(name), limits or Limits())


def openai_tools() -> list[dict]:
    return [t.spec for t in Desk().tools.values()]


async def openai_program(task, url: str) -> dict:
    """A tool loop that knows nothing of us."""
    client = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none")
    messages: list = [{"role": "user", "content": task.prompt}]
    for _ in range(9):
        reply = await client.chat.completions.create(
            model="policy", messages=messages, tools=openai_tools()
        )
        message = reply.choices[0].message
        messages.append(message.model_dump(exclude_none=True))
        if not message.tool_calls:
            break
        for call in message.tool_calls:
            text = await Desk().look(**json.loads(call.function.arguments))
            messages.append({"role": "tool", "tool_call_id": call.id, "content": text})
    await client.close()
    return {"answer": message.content}


async def openai_stream(task, url: str) -> dict:
    client = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none")
    messages: list = [{"role": "user", "content": task.prompt}]
    for _ in range(9):
        calls: dict[int, dict] = {}
        said, usage = "", None
        async for chunk in await client.chat.completions.create(
            model="policy",
            messages=messages,
            tools=openai_tools(),
            stream=True,
            stream_options={"include_usage": True},
        ):
            usage = chunk.usage or usage
            for choice in chunk.choices:
                said += choice.delta.content or ""
                for call in choice.delta.tool_calls or []:
                    made = {"id": call.id, "type": "function", "function": call.function}
                    calls[call.index] = made
        assert usage is not None
        assert usage.completion_tokens > 0
        made = [{**c, "function": c["function"].model_dump()} for c in calls.values()]
        messages.append({"role": "assistant", "content": said, "tool_calls": made})
        if not calls:
            break
        for call in calls.values():
            text = await Desk().look(**json.loads(call["function"].arguments))
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": text})
    await client.close()
    return {"answer": said}


async def anthropic_program(task, url: str, *, stream: bool = False) -> dict:
    client = anthropic.AsyncAnthropic(base_url=url, api_key="none")
    tools: list = [
        {
            "name": t["function"]["name"],
            "description": t["function"]["description"],
            "input_schema": t["function"]["parameters"],
        }
        for t in openai_tools()
    ]
    messages: list = [{"role": "user", "content": task.prompt}]
    for _ in range(9):
        asked = {"model": "policy", "max_tokens": 512, "messages": messages, "tools": tools}
        if stream:
            async with client.messages.stream(**asked) as events:
                reply = await events.get_final_message()
        else:
            reply = await client.messages.create(**asked)
        messages.append({"role": "assistant", "content": [b.model_dump() for b in reply.content]})
        calls = [b for b in reply.content if b.type == "tool_use"]
        if not calls:
            break
        results = [
            {"type": "tool_result", "tool_use_id": c.id, "content": await Desk().look(**c.input)}
            for c in calls
        ]
        messages.append({"role": "user", "content": results})
    await client.close()
    return {"answer": reply.content[0].text}


async def anthropic_stream(task, url: str) -> dict:
    return await anthropic_program(task, url, stream=True)


async def through_gateway(voice: Voice, program) -> Episode:
    async with Gateway(voice) as gateway:
        return await AgentRunner(gateway, program, Verdict(0.5)).run(task(), 7)


def same_record(a: Episode, b: Episode) -> None:
    assert (a.status, a.id, a.seed) == (b.status, b.id, b.seed)
    assert [t.text for t in a.turns] == [t.text for t in b.turns]
    assert [[(c.name, c.arguments, c.id) for c in t.calls] for t in a.turns] == [
        [(c.name, c.arguments, c.id) for c in t.calls] for t in b.turns
    ]
    assert [[m.content for m in t.observations] for t in a.turns] == [
        [m.content for m in t.observations] for t in b.turns
    ]
    assert len(a.segments) == len(b.segments)
    for ours, theirs in zip(a.segments, b.segments, strict=True):
        for name in ("tokens", "origin", "logprobs", "turn", "weights"):
            assert getattr(ours, name).tolist() == getattr(theirs, name).tolist()
    assert a.tools == b.tools
    assert a.reward == b.reward


@pytest.mark.parametrize(("shape", "name"), SHAPES)
async def test_both_routes_give_the_same_record(shape, name) -> None:
    engine, tokenizer = engine_of(shape, name), tokenizer_of(shape)
    runner = Runner(engine, tokenizer, dialect(name), Desk, Verdict(0.5))
    expected = await runner.run(task(), 7)
    assert expected.status == Status.COMPLETED
    assert len(expected.turns) == 3
    same_record(await through_gateway(voice_of(shape, name), openai_program), expected)


@pytest.mark.parametrize("program", [openai_stream, anthropic_program, anthropic_stream])
async def test_every_wire_format_gives_the_same_record(program) -> None:
    engine, tokenizer = engine_of("qwen25", "hermes"), tokenizer_of("qwen25")
    expected = await Runner(engine, tokenizer, dialect("hermes"), Desk, Verdict(0.5)).run(task(), 7)
    episode = await through_gateway(voice_of("qwen25", "hermes"), program)
    same_record(episode, expected)
    assert episode.outcome["answer"] == "It is line 5. é"


def user(text: str) -> Message:
    return Message("user", text)


async def ask(session: Session, *messages: Message) -> Message:
    await session.answer(messages, [], None)
    return Message("assistant", session.turns[-1].text)


def check_each_turn_once(episode: Episode) -> None:
    seen: Counter[int] = Counter()
    for segment in episode.segments:
        for turn in set(segment.turn[segment.action_mask].tolist()):
            at = segment.action_mask & (segment.turn == turn)
            assert segment.tokens[at].tolist() == episode.turns[turn].tokens.tolist()
            assert segment.logprobs[at].tolist() == episode.turns[turn].logprobs.tolist()
            seen[turn] += 1
    assert seen == Counter(range(len(episode.turns)))


def session_of(*messages: str, shape: str = "qwen25", limits: Limits | None = None) -> Session:
    engine = Numbered(says(*messages), tokenizer_of(shape))
    return Session(voice_of(shape, engine=engine, limits=limits), task(), "s")


async def test_a_conversation_that_goes_on_is_one_segment_and_a_fork_a_second() -> None:
    session = session_of(*"abcdef")
    first = await ask(session, user("q"))
    second = await ask(session, user("q"), first, user("more"))
    await ask(session, user("q"), first, user("more"), second, user("still"))
    assert len(session.episode().segments) == 1
    await ask(session, user("q"), first, user("something else"))
    episode = session.episode()
    check_each_turn_once(episode)
    trunk, fork = episode.segments
    tokenizer = tokenizer_of("qwen25")
    text = tokenizer.decode(fork.tokens)
    assert "q<|im_end|>" in text
    assert "something else" in text
    assert "more" not in text
    shared = len(tokenizer.encode("a<|im_end|>"))
    assert int(fork.action_mask.sum()) == len(episode.turns[3].tokens) == shared
    common = next(
        i for i, (x, y) in enumerate(zip(trunk.tokens, fork.tokens, strict=False)) if x != y
    )
    assert common > 20


async def test_asking_again_is_a_fork_too() -> None:
    session = session_of(*"abc")
    for _ in range(3):
        await ask(session, user("q"))
    check_each_turn_once(session.episode())
    assert len(session.episode().segments) == 3


async def test_a_compacted_history_begins_anew() -> None:
    session = session_of(*"abcd")
    first = await ask(session, user("q"))
    await ask(session, user("q"), first, user("more"))
    await ask(session, user("q"), Message("assistant", "a summary"), user("more"))
    episode = session.episode()
    check_each_turn_once(episode)
    assert len(episode.segments) == 2
    assert "a summary" in tokenizer_of("qwen25").decode(episode.segments[1].tokens)


class Thinks(Numbered):
    """Its control tokens are tokens, as a model's are."""

    def __init__(self, tokenizer, text: str) -> None:
        super().__init__(says(), tokenizer)
        self._ids = [*tokenizer.encode(text), tokenizer.end_of_turn]

    async def generate(self, tokens, sampling, *, session="", seed=0, images=()) -> Generation:
        n = len(self._ids)
        ids, zeros = np.asarray(self._ids, np.int32), np.zeros(n, np.float32)
        return Generation(ids, zeros, np.zeros(n, np.int32), "stop")


async def test_stripped_thoughts_are_segments_as_in_the_runner() -> None:
    thought = "<think>\nhm\n</think>\n\nlook"
    session = session_of(shape="qwen3")
    session.voice.engine = Thinks(tokenizer_of("qwen3"), thought)
    first = await ask(session, user("q"))
    await ask(session, user("q"), first, user("more"))
    check_each_turn_once(session.episode())
    assert len(session.episode().segments) == 2


class Flaky(Numbered):
    """Its first `failures` calls find the engine gone."""

    failures = 0

    async def generate(self, tokens, sampling, *, session="", seed=0, images=()) -> Generation:
        if self.failures:
            self.failures -= 1
            raise InfraError("engine_lost", "gone")
        return await super().generate(tokens, sampling, session=session, seed=seed)


@pytest.mark.parametrize("failures", [1, 2, 99])
async def test_broken_infrastructure_is_tried_again_and_is_no_reward(failures) -> None:
    engine = Flaky(says(*messages_of("hermes")), tokenizer_of("qwen25"))
    good = await through_gateway(voice_of("qwen25", engine=engine), openai_program)
    engine = Flaky(says(*messages_of("hermes")), tokenizer_of("qwen25"))
    real, calls = engine.generate, []

    async def fails_at_the_second(*given, **more):
        calls.append(1)
        engine.failures = failures if len(calls) == 2 else engine.failures
        return await real(*given, **more)

    engine.generate = fails_at_the_second  # type: ignore[method-assign]
    episode = await through_gateway(voice_of("qwen25", engine=engine), openai_program)
    if failures <= 2:  # as often as the client tries again by itself
        same_record(episode, good)
    else:
        assert (episode.status, episode.cause) == (Status.INFRA_ERROR, "engine_lost")
        assert not episode.scores


@pytest.mark.parametrize(
    ("limits", "status"),
    [
        (Limits(turns=2), Status.MAX_TURNS),
        (Limits(tokens=60), Status.MAX_TOKENS),
        (Limits(seconds=0.0), Status.DEADLINE),
    ],
)
async def test_a_limit_ends_the_session_and_the_episode_is_judged(limits, status) -> None:
    episode = await through_gateway(voice_of(limits=limits), openai_program)
    assert episode.status == status
    assert episode.judged


async def test_a_program_that_fails_or_hangs() -> None:
    async def raises(task, url) -> None:
        raise ZeroDivisionError

    async def hangs(task, url) -> None:
        await asyncio.sleep(60)

    async with Gateway(voice_of()) as gateway:
        broken = await AgentRunner(gateway, raises, Verdict()).run(task(), 1)
        late = await AgentRunner(gateway, hangs, Verdict(), seconds=0.05).run(task(), 2)
    assert (broken.status, broken.cause, broken.scores) == (
        Status.INFRA_ERROR,
        "agent_raised",
        {},
    )
    assert late.status == Status.DEADLINE
    assert late.judged


async def test_a_scheduler_runs_programs_as_it_runs_environments() -> None:
    async with Gateway(voice_of("qwen25")) as gateway:
        scheduler = Scheduler(AgentRunner(gateway, openai_program, Verdict()), concurrency=4)  # type: ignore[arg-type]
        groups = await scheduler.collect([task("a"), task("b")], 3, seed=0)
    assert [len(g.judged) for g in groups] == [3, 3]
    for episode in [e for g in groups for e in g.episodes]:
        check_each_turn_once(episode)


async def test_any_task_id_and_the_same_seed_twice_are_sessions_of_their_own() -> None:
    name = "a task/with ünusual? signs/" + "x" * 300
    async with Gateway(voice_of("qwen25")) as gateway:
        scheduler = Scheduler(AgentRunner(gateway, openai_program, Verdict()), retries=0)  # type: ignore[arg-type]
        one, other = await scheduler.attempt([Attempt(task(name), 7), Attempt(task(name), 7)])
    assert one.id != other.id
    for episode in (one, other):
        assert episode.judged, episode.outcome
        assert episode.task.id == name
        check_each_turn_once(episode)


BAD = [
    ({}, "messages"),
    ({"messages": []}, "messages"),
    ({"messages": "q"}, "messages"),
    ({"messages": [3]}, "messages[0]"),
    ({"messages": [{"role": "wizard", "content": "q"}]}, "wizard"),
    ({"messages": [{"role": "user", "content": 3}]}, "content"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "image_url"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "tool_call_id"),
    ({"n": 2}, "n=2"),
    ({"stop": ["x"]}, "stop"),
    ({"tools": [{"name": "f"}]}, "function"),
    ({"tools": "f"}, "tools"),
    ({"max_tokens": "many"}, "max_tokens"),
    ({"response_format": {"type": "json_object"}}, "response_format"),
]


async def test_a_programs_mistakes_are_refused_and_nothing_is_recorded() -> None:
    asked = {"model": "policy", "messages": [{"role": "user", "content": "q"}]}
    async with Gateway(voice_of()) as gateway, aiohttp.ClientSession() as http:
        url = f"{gateway.url}/s/a/v1/chat/completions"
        for change, said in BAD:
            async with http.post(url, json={**asked, **change} if change else {}) as reply:
                error = (await reply.json())["error"]
                assert reply.status == 400, change
                assert said in error["message"]
        async with http.post(url, data=b"{") as reply:
            assert reply.status == 400
        async with http.post(f"{gateway.url}/s/a b/v1/chat/completions", json=asked) as reply:
            assert reply.status == 400
        async with http.post(url, json=asked) as reply:
            assert reply.status == 200
        async with http.get(f"{gateway.url}/sessions/a") as reply:
            assert (await reply.json())["turns"] == 1


async def test_sessions_over_http() -> None:
    done: list[Episode] = []
    async with (
        Gateway(voice_of(), on_episode=done.append, max_sessions=1) as gateway,
        aiohttp.ClientSession() as http,
    ):
        body = {"id": "one", "task": {"id": "t7", "prompt": "p"}, "seed": 3}
        async with http.post(f"{gateway.url}/sessions", json=body) as reply:
            urls = await reply.json()
        assert urls["openai_base_url"] == f"{gateway.url}/s/one/v1"
        for again in (body, {"id": "two"}):
            async with http.post(f"{gateway.url}/sessions", json=again) as reply:
                assert reply.status == 400
        asked = {"messages": [{"role": "user", "content": "q"}]}
        async with http.post(f"{urls['openai_base_url']}/chat/completions", json=asked) as reply:
            assert reply.status == 200
        end = f"{gateway.url}/sessions/one/finish"
        async with http.post(end, json={"reward": "good"}) as reply:
            assert reply.status == 400
        async with http.post(end, json={"reward": 0.5, "outcome": {"diff": ""}}) as reply:
            record = await reply.json()
        async with http.post(end, json={}) as reply:
            assert reply.status == 400
    (episode,) = done
    assert (record["reward"], record["status"], record["turns"]) == (0.5, "completed", 1)
    assert record["segments"][0]["tokens"] == episode.segments[0].tokens.tolist()
    assert (episode.task.id, episode.seed, episode.outcome["diff"]) == ("t7", 3, "")


async def test_calls_that_cannot_be_read_are_text_and_what_was_cut_off_is_not_run() -> None:
    half = '<tool_call>{"name": "look", "arguments": {"line": 3}}</tool_call><tool_call>{'
    whole = messages_of("hermes")[1]
    engine = ScriptedEngine(says(half, whole, "x " * 99), tokenizer_of("qwen25"))
    async with Gateway(voice_of("qwen25", engine=engine)) as gateway:
        client = openai.AsyncOpenAI(base_url=f"{gateway.url}/s/a/v1", api_key="none")
        asked: dict = {"model": "policy", "tools": openai_tools()}
        messages: list = [{"role": "user", "content": "q"}]
        reply = await client.chat.completions.create(messages=messages, **asked)
        assert reply.choices[0].message.content == half
        assert reply.choices[0].message.tool_calls is None
        messages += [{"role": "assistant", "content": half}, {"role": "user", "content": "again"}]
        reply = await client.chat.completions.create(messages=messages, max_tokens=20, **asked)
        assert reply.choices[0].finish_reason == "length"
        assert reply.choices[0].message.tool_calls is None
        (session,) = gateway._sessions.values()
        assert len(session.branches) == 1
        await client.close()


@pytest.mark.parametrize("name", ["hermes", "mistral", "deepseek", "qwen_xml", "pythonic", "react"])
def test_what_is_said_in_front_of_calls_is_shown_without_them(name) -> None:
    speaks = dialect(name)
    text = "I look.\n" + speaks.format([ToolCall("look", {"line": 3})])
    assert before_calls(text, speaks.parse(text)) == "I look."
