"""Many episodes at once: none waits for another, and order changes nothing."""

import asyncio
import contextlib
import time

import pytest
import torch
from episodes_kit import Verdict, scripted_runner, task, tokenizer_of

from agentrl.core import Attempt, InfraError, Score, Status, derive_seed
from agentrl.engines import TransformersEngine
from agentrl.environments import Environment, Observation
from agentrl.episodes import Limits, Resources, Runner, Scheduler, Slots, dialect
from agentrl.models import tiny_policy
from agentrl.tools import tool


class Quick(Environment):
    pass


def flaky(failures: int) -> type[Environment]:
    """Its first `failures` instances are broken."""
    made: list[Environment] = []

    class Flaky(Environment):
        def reset(self, task):
            made.append(self)
            if len(made) <= failures:
                raise InfraError("sandbox_died", "gone")
            return task.prompt

    return Flaky


@pytest.mark.parametrize("retries", [0, 1, 2])
@pytest.mark.parametrize("failures", [0, 1, 2, 3, 9])
async def test_broken_episodes_are_run_again_with_a_fresh_seed_and_then_given_up(
    retries, failures
) -> None:
    seen, started = [], []
    runner = scripted_runner(flaky(failures), "done")
    scheduler = Scheduler(runner, retries=retries, on_start=started.append, on_episode=seen.append)
    (group,) = await scheduler.collect([task()], 1, seed=3)
    (episode,) = group.episodes
    assert len(seen) == len(started) == min(failures, retries) + 1
    assert len({e.seed for e in seen}) == len({e.id for e in seen}) == len(seen)
    assert seen[-1] is episode
    if failures > retries:
        assert (episode.status, episode.cause) == (Status.INFRA_ERROR, "sandbox_died")
        assert group.judged == []
    else:
        assert group.judged == [episode]


async def test_what_the_policy_did_wrong_is_not_run_again() -> None:
    seen = []
    runner = scripted_runner(Quick, "x" * 99, limits=Limits(turns=1, tokens_per_turn=2))
    await Scheduler(runner, on_episode=seen.append).collect([task()], 3, seed=0)
    assert [e.status for e in seen] == [Status.MAX_TURNS] * 3


@pytest.mark.parametrize("bound", [1, 3, 64])
async def test_no_more_than_the_bound_run_at_once(bound) -> None:
    now, most = 0, 0

    class Counts(Environment):
        async def reset(self, task):
            nonlocal now, most
            now += 1
            most = max(most, now)
            await asyncio.sleep(0.002)
            return task.prompt

        def close(self):
            nonlocal now
            now -= 1

    runner = scripted_runner(Counts, "done")
    groups = await Scheduler(runner, concurrency=bound).collect(
        [task(f"t{i}") for i in range(5)], 4, seed=0
    )
    assert [g.key for g in groups] == [(f"t{i}",) for i in range(5)]
    assert all(len(g.judged) == 4 for g in groups)
    assert (most, now) == (min(bound, 20), 0)


async def test_results_do_not_depend_on_how_many_run_at_once() -> None:
    tokenizer = tokenizer_of("compact")
    sizes = {"hidden": 32, "layers": 1, "heads": 2, "kv_heads": 1, "head_dim": 16}
    policy = tiny_policy(tokenizer.hf, **sizes, max_positions=512)
    with torch.no_grad():
        for weight in policy.model.parameters():
            weight.mul_(4.0 if weight.ndim > 1 else 1.0)

    class Echo(Environment):
        async def step(self, turn):
            await asyncio.sleep(0.001 * (len(turn.text) % 3))
            return Observation([], done=turn.text.count("e") > 2)

    async def run(concurrency: int, order: int) -> list[list]:
        engine = TransformersEngine(policy)
        limits = Limits(turns=3, tokens_per_turn=6)
        runner = Runner(engine, tokenizer, dialect("pythonic"), Echo, Verdict(), limits)
        tasks = [task(f"t{i}") for i in range(4)]
        try:
            groups = await Scheduler(runner, concurrency).collect(tasks[::order], 2, seed=5)
        finally:
            await engine.close()
        return [
            [(s.tokens.tolist(), s.logprobs.tolist()) for e in g.episodes for s in e.segments]
            for g in groups[::order]
        ]

    alone = await run(1, 1)
    assert await run(16, 1) == await run(3, -1) == alone
    assert len({str(episode) for group in alone for episode in group}) == 8


async def test_attempts_with_one_task_and_seed_share_no_conversation() -> None:
    runner = scripted_runner(Sleeps, "[rest()]", "[rest()]", "done")
    twice = [Attempt(task(), 7), Attempt(task(), 7)]
    one, other = await Scheduler(runner).attempt(twice)
    assert one.seed == other.seed
    for episode in (one, other):
        assert [t.text for t in episode.turns] == ["[rest()]", "[rest()]", "done"]
    assert not runner.engine.sessions


async def test_a_task_that_is_given_twice_is_two_groups_with_seeds_of_their_own() -> None:
    tasks = [task("a"), task("b"), task("a")]
    groups = await Scheduler(scripted_runner(Quick, "done")).collect(tasks, 3, seed=0)
    assert [g.key for g in groups] == [("a",), ("b",), ("a",)]
    assert len({e.seed for g in groups for e in g.episodes}) == 9
    alone = await Scheduler(scripted_runner(Quick, "done")).collect(tasks[:2], 3, seed=0)
    assert [[e.seed for e in g.episodes] for g in alone] == [
        [e.seed for e in g.episodes] for g in groups[:2]
    ]


class Sleeps(Environment):
    @tool
    async def rest(self) -> str:
        """Wait without a thread."""
        await asyncio.sleep(0.1)
        return "rested"

    @tool
    def work(self) -> str:
        """Wait in a thread."""
        time.sleep(0.1)
        return "worked"


@pytest.mark.parametrize("name", ["rest", "work"])
async def test_slow_tools_of_many_episodes_overlap(name) -> None:
    runner = scripted_runner(Sleeps, *[f"[{name}()]"] * 3, "done")
    started = time.perf_counter()
    (group,) = await Scheduler(runner, concurrency=32).collect([task()], 32, seed=0)
    seconds = time.perf_counter() - started
    assert all(len(e.turns) == 4 and e.judged for e in group.episodes)
    assert all(t.results[0].ok for e in group.episodes for t in e.turns[:3])
    serial = 32 * 3 * 0.1
    assert seconds < serial / 4


async def test_one_hung_tool_delays_no_other_episode() -> None:
    hung = asyncio.Event()

    class Hangs(Environment):
        async def reset(self, task):
            self.id = task.id
            return task.prompt

        @tool(timeout=60)
        async def look(self) -> str:
            """Look."""
            if self.id == "t0":
                hung.set()
                await asyncio.sleep(60)
            return "seen"

    runner = scripted_runner(Hangs, "[look()]", "done")
    scheduler = Scheduler(runner, concurrency=4)
    tasks = [task(f"t{i}") for i in range(12)]
    found = []
    async with contextlib.aclosing(scheduler.groups(tasks, 1, seed=0)) as groups:
        async with asyncio.timeout(30):
            async for group in groups:
                found.append(group.key[0])
                if len(found) == 11:
                    break
    assert hung.is_set()
    assert sorted(found) == sorted(t.id for t in tasks[1:])


def open_rooms() -> tuple[type[Environment], set[Environment]]:
    rooms: set[Environment] = set()

    class Stays(Environment):
        async def reset(self, task):
            rooms.add(self)
            if task.id != "quick":
                await asyncio.sleep(60)
            return task.prompt

        async def close(self):
            await asyncio.sleep(0)
            rooms.discard(self)

    return Stays, rooms


async def test_a_consumer_that_stops_cancels_what_is_left() -> None:
    kind, rooms = open_rooms()
    scheduler = Scheduler(scripted_runner(kind, "done"))
    before = asyncio.all_tasks()
    tasks = [task("quick"), task("slow"), task("slower")]
    async with contextlib.aclosing(scheduler.groups(tasks, 2, seed=0)) as groups:
        async for group in groups:
            assert group.key == ("quick",)
            assert len(rooms) == 4
            break
    assert not rooms
    assert asyncio.all_tasks() == before


async def test_a_cancelled_consumer_leaves_nothing_running() -> None:
    kind, rooms = open_rooms()
    scheduler = Scheduler(scripted_runner(kind, "done"))
    before = asyncio.all_tasks()
    collecting = asyncio.ensure_future(scheduler.collect([task("slow")], 3, seed=0))
    while len(rooms) < 3:
        await asyncio.sleep(0.001)
    collecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await collecting
    assert not rooms
    assert asyncio.all_tasks() == before


async def test_a_full_disk_in_a_callback_stops_the_run_and_its_episodes() -> None:
    kind, rooms = open_rooms()

    def full(episode) -> None:
        raise OSError("no space left on device")

    scheduler = Scheduler(scripted_runner(kind, "done"), on_episode=full)
    with pytest.raises(OSError, match="no space left"):
        await scheduler.collect([task("slow"), task("quick")], 2, seed=0)
    assert not rooms


class Slow(Environment):
    """The first two members of t0 fail at once, the others would take for ever."""

    async def reset(self, task):
        self.hopeless = task.id == "t0"
        return task.prompt

    async def finish(self, episode):
        if self.hopeless and episode.seed not in FIRST:
            await asyncio.sleep(60)
        return {}


FIRST = {derive_seed(0, "t0", member) for member in (0, 1)}


class ByTask:
    name = "by_task"

    async def score(self, episode):
        return Score(0.0 if episode.task.id == "t0" else episode.seed % 7)


async def test_a_hopeless_group_is_given_up_and_the_others_are_not() -> None:
    runner = scripted_runner(Slow, "done", reward=ByTask())
    before = asyncio.all_tasks()
    async with asyncio.timeout(30):
        given_up, kept = await Scheduler(runner).collect(
            [task("t0"), task("t1")], 4, seed=0, hopeless_after=2
        )
    assert {e.seed for e in given_up.episodes} == FIRST
    assert len(kept.judged) == 4
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize("first", [None, 1, 2, 3, 4, 9])
async def test_only_a_group_that_agrees_is_given_up(first) -> None:
    runner = scripted_runner(Quick, "done", reward=Verdict(0.5))
    (group,) = await Scheduler(runner).collect([task()], 4, seed=0, hopeless_after=first)
    assert len(group.episodes) == (4 if first is None or first >= 4 else first)
    runner = scripted_runner(flaky(9), "done", reward=Verdict(0.5))
    (group,) = await Scheduler(runner, retries=0).collect([task()], 4, seed=0, hopeless_after=2)
    assert len(group.episodes) == 4


async def test_engine_and_judges_have_limits_of_their_own() -> None:
    class Judge:
        name = "judge"

        async def score(self, episode):
            await asyncio.sleep(0.001)
            return Score(1.0)

    runner = scripted_runner(Quick, "done", reward=Judge())
    runner.resources = Resources(engine=Slots(3), judges=Slots(2))
    (group,) = await Scheduler(runner, concurrency=32).collect([task()], 32, seed=0)
    assert len(group.judged) == 32
    assert runner.resources.judges.peak == 2
    assert runner.resources.engine.peak <= 3
    assert (runner.resources.judges.used, runner.resources.engine.used) == (0, 0)
