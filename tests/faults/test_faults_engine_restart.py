"""The Docker engine goes away in the middle of many episodes and comes back."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from own_dockerd import OwnEngine

from agentrl import Environment, Score, Task, tool
from agentrl.core import Episode, SandboxError, Status
from agentrl.engines import ScriptedEngine
from agentrl.episodes import Limits, Runner, Scheduler, dialect
from agentrl.models import ChatTokenizer, builtin_template, train_tokenizer
from agentrl.sandboxes import DockerEngine, DockerPool, DockerSandbox, ensure_image
from agentrl.sandboxes import Limits as SandboxLimits
from agentrl.sandboxes.owner import OWNER

pytestmark = pytest.mark.docker

SMALL = SandboxLimits(memory_mb=128, work_mb=16, tmp_mb=8, pids=32)
EPISODES = 32


@pytest.fixture(scope="module")
def own() -> Iterator[OwnEngine]:
    engine = OwnEngine().start()
    yield engine
    engine.close()


def left(host: str) -> list[str]:
    engine = DockerEngine(host)
    try:
        return [c["Names"][0] for c in engine.api.containers(all=True, filters={"label": OWNER})]
    finally:
        engine.close()


class Works(Environment):
    """Works in one sandbox and is graded in another."""

    def __init__(self, pool: DockerPool) -> None:
        self.pool = pool
        self.sandbox: Any = None

    async def reset(self, task: Task) -> str:
        self.sandbox = await self.pool.acquire()
        return task.prompt

    @tool
    async def work(self) -> str:
        """Work."""
        return (await self.sandbox.exec("sleep 2; echo worked")).output

    async def finish(self, episode: Episode) -> dict[str, Any]:
        grading = await self.pool.fresh()
        try:
            return {"graded": (await grading.exec("echo graded")).output.strip()}
        finally:
            await self.pool.release(grading)

    async def close(self) -> None:
        if self.sandbox is not None:
            await self.pool.release(self.sandbox)


class Graded:
    name = "graded"

    async def score(self, episode: Episode) -> Score:
        return Score(float(episode.outcome.get("graded") == "graded"))


def runner(pool: DockerPool) -> Runner:
    tokenizer = ChatTokenizer(train_tokenizer(["call the tool"], 300), builtin_template("compact"))

    def script(seed: int) -> Generator[str, str, None]:
        yield ""
        call = json.dumps({"name": "work", "arguments": {}})
        for _ in range(3):
            yield f"<tool_call>\n{call}\n</tool_call>"
        yield "done"

    limits = Limits(tokens=1 << 20, tokens_per_turn=400)
    engine = ScriptedEngine(script, tokenizer)
    hermes = dialect("hermes")
    return Runner(engine, tokenizer, hermes, lambda: Works(pool), Graded(), limits, source="script")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_an_engine_restarted_under_32_episodes_costs_retries_and_no_verdict(
    own: OwnEngine, number: signal.Signals
) -> None:
    ended: list[Episode] = []
    enough = asyncio.Event()

    def note(episode: Episode) -> None:
        ended.append(episode)
        if len(ended) >= 4:
            enough.set()

    async with DockerPool(limits=SMALL, size=8, spare=1, host=own.host) as pool:
        scheduler = Scheduler(runner(pool), concurrency=EPISODES, retries=3, on_episode=note)
        tasks = [Task(f"t{n}", "go") for n in range(EPISODES // 4)]
        running = asyncio.create_task(scheduler.collect(tasks, 4, seed=3))
        await enough.wait()
        await asyncio.to_thread(own.restart, number)
        groups = await running
        assert len(left(own.host)) <= 8 + 1 + 1 + 8
    broken = [e for e in ended if e.status == Status.INFRA_ERROR]
    assert broken, "the restart met no episode"
    assert {e.judged for e in broken} == {False}
    assert len(broken) <= 2 * EPISODES
    final = [e for group in groups for e in group.episodes]
    assert Counter(e.status for e in final) == {Status.COMPLETED: EPISODES}
    assert [e.outcome["graded"] for e in final] == ["graded"] * EPISODES
    assert all(t.results[0].text.strip() == "worked" for e in final for t in e.turns[:3])
    assert left(own.host) == []


@pytest.mark.timeout(300)
async def test_an_engine_that_stays_away_is_given_up_within_bounds(own: OwnEngine) -> None:
    async with DockerPool(limits=SMALL, size=1, spare=0, host=own.host, patience=2.0) as pool:
        sandbox = await pool.acquire()
        await asyncio.to_thread(own.stop)
        try:
            with pytest.raises(SandboxError, match="gone"):
                await sandbox.exec("true")
            await pool.release(sandbox)
            async with asyncio.timeout(30):
                with pytest.raises(SandboxError) as caught:
                    await pool.acquire()
            assert caught.value.cause == "docker_down"
        finally:
            await asyncio.to_thread(own.start)
        assert (await (await pool.acquire()).exec("echo back")).output == "back\n"
    assert left(own.host) == []


@pytest.mark.timeout(300)
async def test_a_supervisor_that_never_answers_is_a_dead_sandbox(
    own: OwnEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exec that never returns: the container is frozen under it."""
    monkeypatch.setattr("agentrl.sandboxes.base.GRACE_SECONDS", 1.0)
    engine = DockerEngine(own.host)
    sandbox = await DockerSandbox.create(engine, ensure_image(engine=engine), limits=SMALL)
    await engine.call(lambda: engine.api.pause(sandbox.id))
    async with asyncio.timeout(20):
        with pytest.raises(SandboxError, match="silent") as caught:
            await sandbox.exec("echo never", timeout=1.0)
    assert caught.value.cause == "sandbox_died"
    await sandbox.close()
    engine.close()
    assert left(own.host) == []
