import asyncio
import threading
import time
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentrl.core import InfraError, ToolCall, ToolResult
from agentrl.tools import ToolError, clip, run_calls, tool, tools_of
from agentrl.tools.workers import Workers, workers


@dataclass
class Point:
    x: int


class Box:
    def __init__(self):
        self.log: list[str] = []

    @tool
    def give(self, what: str) -> object:
        return {
            "str": "text",
            "empty": "",
            "int": 3,
            "true": True,
            "none": None,
            "dict": {"a": [1, "é"]},
            "dataclass": [Point(1)],
            "set": {1},
            "bytes": b"ab\xff",
            "surrogate": "a\udc80b",
            "result": ToolResult("mine", ok=False, error="odd"),
        }[what]

    @tool(concurrent=True)
    async def safe(self, n: int) -> int:
        self.log.append(f"+{n}")
        await asyncio.sleep(0.05)
        self.log.append(f"-{n}")
        return n

    @tool
    async def alone(self, n: int) -> int:
        return await type(self).safe(self, n)

    @tool(concurrent=True)
    async def fail(self) -> None:
        await asyncio.sleep(0.01)
        raise InfraError("sandbox_died", "gone")

    @tool
    async def refuse(self) -> None:
        raise ToolError("no such account")

    @tool
    async def cancelled(self) -> None:
        raise asyncio.CancelledError


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("str", "text"),
        ("empty", "(no output)"),
        ("int", "3"),
        ("true", "true"),
        ("none", "ok"),
        ("dict", '{"a":[1,"é"]}'),
        ("dataclass", '[{"x":1}]'),
        ("set", "[1]"),
        ("bytes", "ab\ufffd"),
        ("surrogate", "a?b"),
    ],
)
async def test_whatever_a_tool_returns_can_be_read(call, what, text):
    result = await call(Box(), "give", what=what)
    assert (result.text, result.ok, result.error) == (text, True, None)


async def test_a_result_of_the_tools_own_is_kept(call):
    result = await call(Box(), "give", what="result")
    assert (result.text, result.ok, result.error) == ("mine", False, "odd")


def calls(*names: str) -> list[ToolCall]:
    return [ToolCall(name, {"n": i}) for i, name in enumerate(names)]


async def test_only_neighbours_that_are_all_safe_run_together_and_order_is_kept():
    box = Box()
    results = await run_calls(tools_of(box), calls("safe", "safe", "alone", "safe", "safe"))
    assert [r.text for r in results] == ["0", "1", "2", "3", "4"]
    assert set(box.log[:2]) == {"+0", "+1"}
    assert box.log[4:6] == ["+2", "-2"]
    assert set(box.log[6:8]) == {"+3", "+4"}


async def test_infrastructure_failure_propagates_and_leaves_no_sibling_running():
    box = Box()
    with pytest.raises(InfraError, match="gone"):
        await run_calls(tools_of(box), [ToolCall("safe", {"n": 1}), ToolCall("fail")])
    await asyncio.sleep(0.1)
    assert box.log == ["+1"]


async def test_cancellation_propagates_from_inside_and_from_outside():
    box = Box()
    with pytest.raises(asyncio.CancelledError):
        await run_calls(tools_of(box), [ToolCall("cancelled")])
    running = asyncio.create_task(run_calls(tools_of(box), calls("alone")))
    await asyncio.sleep(0.02)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await asyncio.sleep(0.1)
    assert box.log == ["+0"]


async def test_a_refusal_is_shown_as_written(call):
    result = await call(Box(), "refuse")
    assert (result.text, result.error) == ("error: no such account", "refused")


@given(st.text(max_size=300), st.integers(80, 200))
def test_clipping_keeps_head_and_tail_and_says_how_much_is_gone(text, limit):
    shown = clip(text, limit)
    if len(text) <= limit:
        assert shown == text
    else:
        head, tail = limit - limit // 2, limit // 2
        cut = len(text) - limit
        assert shown == f"{text[:head]}\n[... {cut:,} characters cut ...]\n{text[-tail:]}"


def test_the_mark_of_a_cut_is_readable():
    assert "\n[... 12,345 characters cut ...]\n" in clip("x" * 12_445, 100)


class Slow:
    def __init__(self, release: threading.Event):
        self.release = release
        self.beats = 0

    @tool(timeout=0.2)
    def hang(self) -> None:
        self.release.wait(20)

    @tool(timeout=0.2)
    async def stubborn(self) -> None:
        while True:
            try:
                await asyncio.sleep(20)
            except asyncio.CancelledError:
                self.beats += 1
                if self.beats > 1:
                    raise

    @tool
    def quick(self) -> str:
        return threading.current_thread().name


@pytest.fixture
def release():
    event = threading.Event()
    yield event
    event.set()


async def test_a_hung_sync_tool_is_left_behind_and_blocks_nobody(call, release):
    slow = Slow(release)
    before = workers().abandoned
    begin = time.perf_counter()
    hung = [asyncio.create_task(call(slow, "hang")) for _ in range(3 * 32)]
    assert (await call(slow, "quick")).ok
    results = await asyncio.gather(*hung)
    # 96 hang in a pool of 32: three generations, not for ever.
    assert time.perf_counter() - begin < 5
    assert {r.text for r in results} == {"error: hang was stopped after its deadline of 0.2 s"}
    assert {r.error for r in results} == {"deadline"}
    assert workers().abandoned == before + 96
    assert (await call(slow, "quick")).text == "agentrl-tool"
    release.set()
    for _ in range(100):
        await asyncio.sleep(0.02)
        if workers().abandoned == before:
            break
    assert workers().abandoned == before


async def test_an_async_tool_that_swallows_its_cancellation_is_left_behind_too(
    call, monkeypatch, release
):
    monkeypatch.setattr("agentrl.tools.definition._GRACE", 0.1)
    slow = Slow(release)
    result = await call(slow, "stubborn")
    assert result.error == "deadline"
    assert result.seconds < 2
    assert slow.beats == 1
    (left,) = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
    left.cancel()


async def test_too_many_hung_threads_are_an_infrastructure_failure(release):
    pool = Workers(size=2, max_abandoned=2)
    for _ in range(2):
        with pytest.raises(TimeoutError):
            await pool.run(lambda: release.wait(20), 0.05)
    with pytest.raises(InfraError, match="2 tool calls passed their deadline"):
        await pool.run(lambda: None, 1)


async def test_the_deadline_of_a_call_counts_from_its_start_not_from_the_queue():
    pool = Workers(size=1)
    outcomes = await asyncio.gather(*(pool.run(lambda: time.sleep(0.1), 0.5) for _ in range(8)))
    assert [o.error for o in outcomes] == [None] * 8


async def test_a_waiting_call_that_is_cancelled_never_runs():
    pool, ran = Workers(size=1), []
    busy = asyncio.create_task(pool.run(lambda: time.sleep(0.2), 5))
    await asyncio.sleep(0.05)
    waiting = asyncio.create_task(pool.run(lambda: ran.append(1), 5))
    await asyncio.sleep(0.01)
    waiting.cancel()
    await busy
    await pool.run(lambda: None, 5)
    assert ran == []


async def test_the_loop_stays_free_while_a_sync_tool_works(call):
    class Worker:
        @tool
        def work(self) -> None:
            time.sleep(0.3)

    beats = 0
    running = asyncio.create_task(call(Worker(), "work"))
    while not running.done():
        await asyncio.sleep(0.01)
        beats += 1
    assert beats > 10


async def test_a_call_costs_little():
    class Fast:
        @tool
        async def act(self, n: int) -> int:
            return n

    tools = tools_of(Fast())
    batch = [ToolCall("act", {"n": 1})]
    begin = time.process_time()
    for _ in range(1000):
        await run_calls(tools, batch)
    # The scheduler has 5 ms for an episode of four turns, everything included.
    assert (time.process_time() - begin) / 1000 < 0.0005
