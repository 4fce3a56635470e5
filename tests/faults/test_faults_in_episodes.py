"""Whatever goes wrong in an episode, the episode or its retry goes on, and so does the run."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Generator
from typing import Any

import pytest

from agentrl import Environment, Score, Task, tool
from agentrl.core import Episode, Status
from agentrl.engines import ScriptedEngine
from agentrl.episodes import Limits, Runner, Scheduler, dialect
from agentrl.models import ChatTokenizer, builtin_template, train_tokenizer
from agentrl.sandboxes import DockerPool, ensure_image
from agentrl.sandboxes import Limits as SandboxLimits


@pytest.fixture(scope="module")
def tokenizer() -> ChatTokenizer:
    return ChatTokenizer(train_tokenizer(["call the tool"], 300), builtin_template("compact"))


class One:
    name = "one"

    async def score(self, episode: Episode) -> Score:
        return Score(1.0)


def called(name: str, arguments: Any) -> str:
    call = json.dumps({"name": name, "arguments": arguments})
    return f"<tool_call>\n{call}\n</tool_call>"


def runner(tokenizer: ChatTokenizer, make: Any, says: list[str], per_turn: int = 400) -> Runner:
    def script(seed: int) -> Generator[str, str, None]:
        yield ""
        for text in says:  # noqa: UP028  (a list cannot be sent answers)
            yield text

    engine = ScriptedEngine(script, tokenizer)
    limits = Limits(tokens=1 << 20, tokens_per_turn=per_turn)
    return Runner(engine, tokenizer, dialect("hermes"), make, One(), limits, source="script")


class Hazards(Environment):
    """Every way a tool can misbehave, and one that works."""

    def __init__(self) -> None:
        self.added: list[int] = []

    @tool
    def add(self, a: int) -> str:
        """Add."""
        self.added.append(a)
        return f"so far {sum(self.added)}"

    @tool
    def broken(self) -> str:
        """Raise."""
        return str(1 // 0)

    @tool(timeout=0.2)
    async def hang(self) -> str:
        """Hang."""
        await asyncio.sleep(3600)
        return "never"

    @tool(max_output=500)
    def flood(self) -> str:
        """Print 100 MB."""
        return "x" * 100_000_000


FAULTS = [
    (called("add", {"a": "many"}), "bad_arguments", "a"),
    (called("sub", {"a": 1}), "unknown_tool", "unknown tool 'sub'"),
    (called("broken", {}), "raised", "ZeroDivisionError"),
    (called("hang", {}), "deadline", "0.2"),
    (called("flood", {}), None, "x" * 50),
    ("<tool_call>\n{not json\n</tool_call>", "malformed", "error"),
]


async def test_every_fault_is_an_observation_and_the_next_call_still_works(
    tokenizer: ChatTokenizer,
) -> None:
    environment = Hazards()
    says = [text for fault, *_ in FAULTS for text in (fault, called("add", {"a": 1}))]
    run = runner(tokenizer, lambda: environment, [*says, "done"])
    began = time.monotonic()
    episode = await run.run(Task("t", "go"), seed=1)
    assert time.monotonic() - began < 60
    assert episode.status == Status.COMPLETED, episode.outcome
    assert episode.judged
    for (_, error, words), bad, good in zip(
        FAULTS, episode.turns[0::2], episode.turns[1::2], strict=False
    ):
        (result,) = bad.results
        assert result.error == error
        assert words in result.text
        assert len(result.text) < 2000
        assert good.results[0].ok
    assert environment.added == [1] * len(FAULTS)
    assert sum(len(s) for s in episode.segments) < 100_000, "the flood reached the record"


async def test_a_call_cut_off_by_the_length_limit_is_never_executed(
    tokenizer: ChatTokenizer,
) -> None:
    environment = Hazards()
    whole = called("add", {"a": 7})
    long = f"{whole}\nand now {'word ' * 100}"
    room = len(tokenizer.encode_plain(long)) - 50
    assert room > len(tokenizer.encode_plain(whole)), "the call itself is whole before the cut"
    run = runner(tokenizer, lambda: environment, [long, whole, "done"], per_turn=room)
    episode = await run.run(Task("t", "go"), seed=1)
    assert episode.status == Status.COMPLETED, episode.outcome
    cut, executed, _ = episode.turns
    assert (cut.finish_reason, cut.results[0].error) == ("length", "cut_off")
    assert "cut off by the length limit before it ended; nothing was executed" in (
        cut.observations[0].content
    )
    assert executed.results[0].ok
    assert environment.added == [7]


class InDocker(Environment):
    """Its first episode of the task `fragile` loses its container in the middle of a command."""

    lost = 0

    def __init__(self, sandboxes: DockerPool) -> None:
        self.sandboxes = sandboxes
        self.sandbox: Any = None

    async def reset(self, task: Task) -> str:
        self.task = task
        self.sandbox = await self.sandboxes.acquire()
        return task.prompt

    @tool
    async def work(self) -> str:
        """Work."""
        command = asyncio.create_task(self.sandbox.exec("sleep 0.5; echo worked"))
        if self.task.id == "fragile" and not InDocker.lost:
            InDocker.lost += 1
            await asyncio.sleep(0.1)
            await asyncio.to_thread(self.sandbox._engine.api.kill, self.sandbox.id)
        return (await command).output

    async def close(self) -> None:
        if self.sandbox is not None:
            await self.sandboxes.release(self.sandbox)


@pytest.mark.docker
async def test_a_killed_container_costs_a_retry_and_no_number(tokenizer: ChatTokenizer) -> None:
    limits = SandboxLimits(memory_mb=128, work_mb=16, tmp_mb=8, pids=32)
    InDocker.lost = 0
    ended: list[Episode] = []
    async with DockerPool(ensure_image(), limits=limits, size=2, spare=0) as pool:
        run = runner(tokenizer, lambda: InDocker(pool), [called("work", {}), "done"])
        scheduler = Scheduler(run, concurrency=2, retries=1, on_episode=ended.append)
        groups = await scheduler.collect([Task("fragile", "go"), Task("firm", "go")], 1, seed=3)
    (broken,) = [e for e in ended if e.status == Status.INFRA_ERROR]
    assert (broken.task.id, broken.cause, broken.judged) == ("fragile", "sandbox_died", False)
    assert len(ended) == 3
    for group in groups:
        (episode,) = group.episodes
        assert episode.status == Status.COMPLETED, episode.outcome
        assert episode.turns[0].results[0].text.strip() == "worked"
        assert episode.judged
