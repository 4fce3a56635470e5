"""Simulated tools: records first, then rules, then a fallback; users who wait; state."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from small_kit import play, said

from agentrl import tool
from agentrl.core import ChatReply, ConfigError, InfraError, Message, Task, ToolCall, Turn
from agentrl.environments.simulated import (
    CallCache,
    ModelSimulator,
    ModelUser,
    Recorded,
    ScriptedUser,
    Service,
    SimulatedEnvironment,
    SimulatedTools,
    StateMatch,
    UserTurn,
    canonical,
    load_domain,
    snapshot,
)
from agentrl.environments.simulated.environment import services_of
from agentrl.environments.simulated.services import differences, digest
from agentrl.environments.simulated.tools import LiveTools
from agentrl.environments.simulated.users import STOP
from agentrl.tools import given_tool

DESK = Path(__file__).parents[2] / "examples" / "desk"
TRAIN = {
    "name": "find_train",
    "description": "Trains of a day.",
    "parameters": {
        "type": "object",
        "properties": {"to": {"type": "string"}, "day": {"enum": ["Mon", "Tue"]}},
        "required": ["to"],
    },
}
OSLO = Recorded("find_train", {"to": "Oslo", "day": "Mon"}, {"at": "08:15", "price": 24})
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


class Model:
    """A chat model of the test: answers from a list, and remembers what it was asked."""

    name = "model"

    def __init__(self, *answers: str) -> None:
        self.answers, self.asked = list(answers), []

    async def chat(
        self,
        messages: Sequence[Message],
        *,
        schema: type[BaseModel] | None = None,
        **_: Any,
    ) -> ChatReply:
        self.asked.append(list(messages))
        text = self.answers.pop(0)
        if schema is None:
            return ChatReply(text)
        try:
            return ChatReply(text, schema.model_validate_json(text))
        except ValueError as error:
            return ChatReply(text, problem=str(error).splitlines()[0])


def call(name: str, **arguments: Any) -> ToolCall:
    return ToolCall(name, arguments)


def error_of(text: str) -> str:
    return json.loads(text)["error_tool_call"]["message"]


async def test_a_recorded_call_is_answered_whatever_the_order_of_its_keys():
    tools = SimulatedTools([TRAIN], recorded=[OSLO])
    one = await tools.run(call("find_train", to="Oslo", day="Mon"))
    two = await tools.run(call("find_train", day="Mon", to="Oslo"))
    assert one.text == two.text == '{"at": "08:15", "price": 24}'
    assert one.ok


@pytest.mark.parametrize(
    ("asked", "kind", "said_"),
    [
        (call("find_trian", to="Oslo"), "unknown_tool", "there is no tool 'find_trian'"),
        (call("find_train"), "bad_arguments", "'to' is a required property"),
        (call("find_train", to=3), "bad_arguments", "to: 3 is not of type 'string'"),
        (call("find_train", to="Oslo", day="Sun"), "bad_arguments", "day: 'Sun' is not one of"),
        (call("find_train", to="Oslo", seat=1), "bad_arguments", "seat: there is no such argument"),
        (call("find_train", to="Bern"), "refused", "no answer is available"),
    ],
)
async def test_what_is_not_recorded_is_checked_and_then_refused(asked, kind, said_):
    result = await SimulatedTools([TRAIN], recorded=[OSLO]).run(asked)
    assert (result.ok, result.error) == (False, kind)
    assert said_ in error_of(result.text)


@given(st.dictionaries(st.text(max_size=5), JSON, max_size=4), st.randoms())
@settings(max_examples=40, deadline=None)
def test_the_canonical_form_does_not_depend_on_order(arguments, rng):
    keys = list(arguments)
    rng.shuffle(keys)
    assert canonical("t", arguments) == canonical("t", {k: arguments[k] for k in keys})
    assert canonical("t", arguments) == canonical("t", json.loads(json.dumps(arguments)))


async def test_a_live_tool_is_recorded_and_replayed_without_it(tmp_path):
    asked: list[dict[str, Any]] = []

    async def live(arguments: dict[str, Any]) -> Any:
        asked.append(arguments)
        return f"train {len(asked)}"

    path, bern = tmp_path / "calls.jsonl", call("find_train", to="Bern")
    cache = CallCache(path, mode="record")
    tools = SimulatedTools([TRAIN], cache, LiveTools({"find_train": live}))
    assert [(await tools.run(bern)).text for _ in range(2)] == ["train 1"] * 2
    assert len(asked) == 1
    cache.close()
    assert (
        path.read_text()
        == '{"arguments": {"to": "Bern"}, "result": "train 1", "tool": "find_train"}\n'
    )

    replay = CallCache(path)
    tools = SimulatedTools([TRAIN], replay)
    assert (await tools.run(bern)).text == "train 1"
    assert (await tools.run(call("find_train", to="Rome"))).error == "refused"
    replay.close()

    refresh = CallCache(path, mode="refresh")
    tools = SimulatedTools([TRAIN], refresh, LiveTools({"find_train": live}))
    assert [(await tools.run(bern)).text for _ in range(2)] == ["train 2"] * 2
    refresh.close()
    assert '"train 2"' in path.read_text()
    assert (await SimulatedTools([TRAIN], CallCache(), LiveTools({})).run(bern)).error == "refused"


def test_the_file_does_not_depend_on_the_order_of_the_calls(tmp_path):
    calls = [("b", {"x": 2}), ("a", {"y": 1, "x": 1}), ("a", {"x": 1.0, "y": 0})]
    texts = []
    for order in (calls, calls[::-1]):
        path = tmp_path / f"{len(texts)}.jsonl"
        cache = CallCache(path, mode="record")
        for name, arguments in order:
            cache.put(name, arguments, "r")
        cache.close()
        texts.append(path.read_text())
    assert texts[0] == texts[1]
    assert [json.loads(line)["tool"] for line in texts[0].splitlines()] == ["a", "a", "b"]


def test_a_file_cut_at_any_byte_loses_at_most_its_last_call(tmp_path):
    path = tmp_path / "calls.jsonl"
    cache = CallCache(path, mode="record")
    for i in range(3):
        cache.put("find", {"n": i}, {"é": i})
    whole = path.read_bytes()
    assert whole.count(b"\n") == 3  # written as they came, before anything was closed
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        found = CallCache(path, mode="record")
        assert len(found) >= whole[:cut].count(b"\n")
        found.put("find", {"n": 9}, "new")
        assert len(CallCache(path)) == len(found)
        found.close()
        assert len(CallCache(path)) == len(found)


@pytest.mark.parametrize(
    "line", ["{", '{"tool": "t"}', '{"tool": 1, "arguments": {}, "result": 0}', "[]", "[" * 9999]
)
def test_another_broken_line_is_told_with_its_number(tmp_path, line):
    path = tmp_path / "calls.jsonl"
    path.write_text(f'{{"tool": "t", "arguments": {{}}, "result": 0}}\n{line}\n')
    with pytest.raises(ConfigError, match=r"calls.jsonl:2: not a recorded call"):
        CallCache(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        CallCache(tmp_path / "none.jsonl")


async def test_a_model_plays_the_tool_by_the_conversation_s_records():
    answer = '{"analysis": "same form", "execution_result": "{\\"at\\": \\"09:00\\"}"}'
    model = Model("no json", answer)
    cache = CallCache(mode="record")
    tools = SimulatedTools([TRAIN], cache, ModelSimulator(model), [OSLO])
    assert (await tools.run(call("find_train", to="Bern"))).text == '{"at": "09:00"}'
    system = model.asked[0][0].content
    assert "find_train" in system
    assert '"at": "08:15"' in system
    assert (await tools.run(call("find_train", to="Bern"))).ok  # from the cache: no third answer


async def test_three_unreadable_answers_are_nobodys_reward():
    tools = SimulatedTools([TRAIN], fallback=ModelSimulator(Model("a", "{}", '{"analysis": 1}')))
    with pytest.raises(InfraError, match="3 answers could not be used") as caught:
        await tools.run(call("find_train", to="Bern"))
    assert caught.value.cause == "simulator_failed"


async def test_a_schema_that_contains_itself():
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}
    schema = {
        "type": "object",
        "properties": {"list": {"$ref": "#/$defs/node"}},
        "$defs": {"node": node},
    }
    made = given_tool({"name": "walk", "parameters": schema}, _echo)
    assert (await made({"list": {"next": {"next": {}}}})).ok
    assert not (await made({"list": {"next": {"next": 3}}})).ok
    deep: dict[str, Any] = {}
    for _ in range(5000):
        deep = {"next": deep}
    assert "nested more than 64" in (await made({"list": deep})).text
    with pytest.raises(ConfigError, match="no JSON schema"):
        given_tool({"name": "x", "parameters": {"type": "nonsense"}}, _echo)
    with pytest.raises(ConfigError, match="of an object"):
        given_tool({"name": "x", "parameters": {"type": "string"}}, _echo)


def test_a_schema_that_comes_with_every_episode_is_checked_once(monkeypatch):
    from jsonschema import Draft202012Validator as Validator

    checked: list[Any] = []
    real = Validator.check_schema
    monkeypatch.setattr(Validator, "check_schema", lambda s: (checked.append(s), real(s)))
    for kind in ("integer", "integer", "nonsense", "nonsense"):
        schema = {"properties": {"once": {"type": kind}}}
        if kind == "integer":
            given_tool({"name": "x", "parameters": schema}, _echo)
            continue
        with pytest.raises(ConfigError, match="no JSON schema: 'nonsense'"):
            given_tool({"name": "x", "parameters": schema}, _echo)
    assert [s["properties"]["once"]["type"] for s in checked] == ["integer", "nonsense"]


async def _echo(arguments: dict[str, Any]) -> Any:
    return arguments


BUY = UserTurn("buy it", (call("buy", item="book"),))


def done(*calls: ToolCall, ok: bool = True) -> Turn:
    from agentrl.core import ToolResult

    turn = said("done", *calls)
    turn.results = [ToolResult("", ok=ok) for _ in calls]
    return turn


@pytest.mark.parametrize(
    ("turns", "goes_on"),
    [
        ([done(call("buy", item="book", gift=True))], True),
        ([done(call("buy", item="book")), done()], True),
        ([done(call("buy", item="pen"))], False),
        ([done(call("buy", item="book"), ok=False)], False),
        ([done()], False),
    ],
)
async def test_the_next_turn_is_said_only_when_this_one_is_satisfied(turns, goes_on):
    user = ScriptedUser([BUY, UserTurn("and thanks")])
    assert await user.opening() == "buy it"
    assert await user.reply(turns) == ("and thanks" if goes_on else None)
    assert user.passed == int(goes_on)


async def test_a_user_who_is_a_model_sees_words_only_and_can_leave():
    model = Model("Hi, a book please", "Thanks!", f"Bye {STOP}")
    user = ModelUser(model, "You want a book.")
    assert await user.opening() == "Hi, a book please"
    assert await user.reply([said("", call("find")), said("Here it is")]) == "Thanks!"
    assert await user.reply([said("Anything else?")]) is None
    heard = [m.content for m in model.asked[-1]]
    assert "You want a book." in heard[0]
    assert heard[1:3] == ["Hello, how can I help you?", "Hi, a book please"]
    assert heard[3:] == ["Here it is", "Thanks!", "Anything else?"]


class Counter(Service):
    count: int = 0

    @tool
    async def add(self, n: int) -> int:
        """Add."""
        self.count += n
        return self.count


async def test_a_dialogue_of_ten_thousand_turns():
    """Time per turn does not grow, and the services keep their state."""
    payload = {"user": [{"say": f"turn {i}"} for i in range(5000)], "services": {"c": {"count": 0}}}
    environment = SimulatedEnvironment(make_services=services_of({"c": Counter}))
    task = Task("t", "", payload=payload)
    messages = [said("", call("add", n=1)), said("done")] * 5000
    episode = await play(environment, task, *messages)
    assert len(episode.turns) == 10_000
    assert episode.outcome["state"] == {"c": {"count": 5000}}
    assert episode.outcome["user_turns_passed"] == 5000


async def test_an_unknown_service_and_a_bad_user_are_told():
    environment = SimulatedEnvironment(make_services=services_of({"c": Counter}))
    with pytest.raises(ConfigError, match="unknown service 'd'"):
        await environment.reset(Task("t", "", payload={"services": {"d": {}}}))
    with pytest.raises(ConfigError, match="user's turns cannot be read"):
        await environment.reset(Task("t", "", payload={"user": [{"sya": "x"}]}))
    with pytest.raises(ConfigError, match="recorded call cannot be read"):
        await environment.reset(Task("t", "x", payload={"recorded": [{"name": "x"}]}))


def test_snapshots_are_values():
    class Thing:
        def __init__(self) -> None:
            self.items = {"b": {3, 1}, 2: (1, None)}
            self._hidden = object()
            self.me = self

    assert snapshot(Thing()) == {"items": {"b": [1, 3], "2": [1, None]}, "me": "<Thing again>"}
    assert digest(snapshot(Thing())) == digest(snapshot(Thing()))
    assert differences({"a": 1, "b": [1]}, {"a": 1, "b": [2], "c": 0}) == [
        "b: [1], not [2]",
        "c: null, not 0",
    ]
    assert differences({"a": 1}, {"a": 1.0}) == []


async def test_every_task_of_the_own_domain_is_solved_by_its_reference_and_not_without():
    domain = load_domain(DESK)
    assert len(domain.tasks) == 5
    for task in domain.tasks:
        calls = [said("", ToolCall(c["name"], c["arguments"])) for c in task.reference["calls"]]
        told = said(f"Done: {', '.join(task.reference['outputs'])}.")
        episode = await play(domain.environment(), task, *calls, told)
        assert (await StateMatch().score(episode)).value == 1, episode.outcome
        assert (await StateMatch().score(await play(domain.environment(), task, "No."))).value == 0
        wrong = said("", call("take_payment", member="m3", amount=1))
        episode = await play(domain.environment(), task, *calls, wrong, told)
        score = await StateMatch().score(episode)
        assert score.value == 0
        assert "members.m3.fee: 1, not 2" in score.checks[0].evidence


async def test_a_domain_s_user_can_be_a_model():
    (task, *_) = load_domain(DESK).tasks
    task.payload.pop("user")
    domain = load_domain(DESK, user_model=Model("I am Ada. The Long Night, please.", STOP))
    calls = [said("", call("lend", member="m1", book="b3")), said("Yours for 28 days.")]
    episode = await play(domain.environment(), task, *calls)
    assert (await StateMatch().score(episode)).value == 1
    with pytest.raises(ConfigError, match="played by a model, and there is none"):
        await load_domain(DESK).environment().reset(task)


@pytest.mark.parametrize(
    ("file", "content", "said_"),
    [
        ("policy.md", None, "cannot be read"),
        ("db.json", "{", "not JSON"),
        ("db.json", "[]", "no JSON object"),
        ("tools.py", "x = 1", "no class Tools"),
        ("tools.py", "1 / 0", "ZeroDivisionError"),
        ("tools.py", None, "no such file"),
    ],
)
def test_a_domain_that_is_not_whole_is_told(tmp_path, file, content, said_):
    for path in DESK.iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / file).unlink()
    if content is not None:
        (tmp_path / file).write_text(content)
    with pytest.raises(ConfigError, match=said_):
        load_domain(tmp_path)
