"""Episodes that take up others: same tokens, same state, or a stated reason why not."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from episodes_kit import Verdict, format_of, tokenizer_of

from agentrl.core import (
    Episode,
    Generation,
    Message,
    NoSnapshot,
    Origin,
    PlacedImage,
    RestoreError,
    Sampling,
    Score,
    Start,
    Status,
    Task,
)
from agentrl.engines import ScriptedEngine
from agentrl.environments import Environment
from agentrl.episodes import Limits, Runner, Scheduler, States, dialect, prefix
from agentrl.episodes.vine import credit_turns, vine
from agentrl.learner.pack import pack, schedule
from agentrl.learner.rows import make_rows
from agentrl.tools import tool

TASK = Task("steps", "add up", payload={"goal": 3})


class Sum(Environment):
    """Adds up; its answers depend on all that was added before, and on a generator's state."""

    def __init__(self, log: list[str] | None = None) -> None:
        self.log = log if log is not None else []

    shared = ("log",)

    def reset(self, task: Task) -> str:
        self.log.append("reset")
        self.total, self.parts, self.luck = 0, [], random.Random(7)
        return task.prompt

    @tool
    def add(self, number: int) -> str:
        """Add.

        Args:
            number: how much.
        """
        self.log.append(f"add {number}")
        self.total += number
        self.parts.append(number)
        return f"{self.total} of {self.parts}, luck {self.luck.random():.6f}"

    async def finish(self, episode: Episode) -> dict[str, object]:
        return {"total": self.total, "resolved": self.total == 3}


class OnlyReplayed(Sum):
    async def snapshot(self) -> object:
        raise NoSnapshot("no")


class Shared(Sum):
    """Goes on from where the last one stopped: one seed, another state each time."""

    totals: Iterator[int] = itertools.count(100, 100)

    def reset(self, task: Task) -> str:
        super().reset(task)
        self.total = next(self.totals)
        return task.prompt


class Fickle(OnlyReplayed):
    runs: Iterator[int] = itertools.count()

    @tool
    def add(self, number: int) -> str:
        """Add.

        Args:
            number: how much.
        """
        return f"run {next(self.runs)}"


class Total:
    name = "total"

    async def score(self, episode: Episode) -> Score:
        return Score(float(episode.outcome["total"]))


class Dice:
    """An engine that adds a number drawn by the seed, and knows its own distribution."""

    version = 4
    sessions: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.given: list[list[int]] = []

    async def generate(
        self,
        tokens: list[int],
        sampling: Sampling,
        *,
        session: str = "",
        seed: int = 0,
        images: Sequence[PlacedImage] = (),
    ) -> Generation:
        self.given.append(list(tokens))
        ids = tokenizer_of("compact").encode_plain(f"[add(number={seed % 2 + 1})]")
        ids.append(tokenizer_of("compact").end_of_turn)
        n = len(ids)
        logprobs = np.full(n, -0.5, np.float32)
        return Generation(np.asarray(ids, np.int32), logprobs, np.full(n, 4, np.int32), "stop")

    async def end_session(self, session: str) -> None: ...


def runner(make: type[Sum], turns: int = 4, log: list[str] | None = None) -> Runner:
    return Runner(
        Dice(),  # type: ignore[arg-type]
        tokenizer_of("compact"),
        dialect("pythonic"),
        lambda: make(log),
        Total(),  # type: ignore[arg-type]
        Limits(turns=turns),
    )


def until(episode: Episode, turn: int) -> list[int]:
    """Ids before what was sampled in a turn."""
    (segment,) = episode.segments
    first = int(np.flatnonzero((segment.turn == turn) & segment.action_mask)[0])
    return segment.tokens[:first].tolist()


@pytest.mark.parametrize("make", [Sum, OnlyReplayed])
@pytest.mark.parametrize("turn", [0, 1, 2, 3])
async def test_continuations_share_their_tokens_and_start_from_the_same_state(
    make: type[Sum], turn: int
) -> None:
    scheduler = Scheduler(runner(make))
    parent = await scheduler.runner.run(TASK, 5)
    group = await scheduler.fork(Start(parent, turn), 6, seed=1)
    assert group.key == ("steps", "turn", turn, parent.id)
    shared = until(parent, turn)
    for fork in group.episodes:
        assert fork.status == Status.MAX_TURNS
        assert until(fork, turn) == shared
        assert [t.text for t in fork.turns[:turn]] == [t.text for t in parent.turns[:turn]]
        (segment,) = fork.segments
        assert set(segment.turn[segment.action_mask].tolist()) == set(range(turn, 4))
        # The same draws after the same state give the same answers, generator included.
        again = await runner(make).run(TASK, 0, Start(fork, 4 - 1)) if turn == 3 else None
        if again is not None:
            assert again.branch["how"] == "replay"
    assert len({tuple(e.segments[0].tokens) for e in group.episodes}) > 1
    how = [e.branch["how"] for e in group.episodes]
    if turn == 0:
        assert set(how) == {"start"}
    elif make is Sum:
        assert sorted(set(how)) == ["replay", "snapshot"]
        assert how.count("replay") == 1
    else:
        assert set(how) == {"replay"}
        assert all(e.branch["checked"] == turn for e in group.episodes)


async def test_siblings_do_not_feel_each_other() -> None:
    scheduler = Scheduler(runner(Sum, turns=6))
    parent = await scheduler.runner.run(TASK, 5)
    forks = (await scheduler.fork(Start(parent, 2), 8, seed=2)).episodes
    for fork in forks:
        drawn = [int(t.calls[0].arguments["number"]) for t in fork.turns]
        assert fork.outcome["total"] == sum(drawn)
        assert f"of {drawn}" in fork.turns[-1].observations[0].content


async def test_a_running_episodes_states_are_kept_and_nothing_is_replayed() -> None:
    log: list[str] = []
    run = runner(Sum, log=log)
    run.states = States(limit=8, every_turn=True)
    parent = await run.run(TASK, 5)
    calls = len(log)
    fork = await run.run(TASK, 6, Start(parent, 3))
    assert fork.branch["how"] == "snapshot"
    assert log[calls:] == [f"add {fork.turns[3].calls[0].arguments['number']}"]


async def test_states_of_episodes_with_one_task_and_seed_are_kept_apart() -> None:
    run = runner(Shared)
    run.states = States(limit=16, every_turn=True)
    one, other = [await run.run(TASK, 5) for _ in range(2)]
    assert one.id == other.id
    for parent in (one, other):
        before = int(parent.turns[1].observations[0].content.split()[0])
        fork = await run.run(TASK, 6, Start(parent, 2))
        assert fork.branch["how"] == "snapshot"
        drawn = sum(int(t.calls[0].arguments["number"]) for t in fork.turns[2:])
        assert fork.outcome["total"] == before + drawn


async def test_another_answer_than_recorded_is_said_and_never_a_reward() -> None:
    scheduler = Scheduler(runner(Fickle), retries=3)
    parent = await scheduler.runner.run(TASK, 5)
    group = await scheduler.fork(Start(parent, 2), 2, seed=0)
    for episode in group.episodes:
        assert (episode.status, episode.cause) == (Status.INFRA_ERROR, "restore_diverged")
        assert "turn 0 was answered otherwise" in episode.outcome["error"]
    assert group.judged == []


async def test_there_is_no_way_past_the_end() -> None:
    run = runner(Sum)
    parent = await run.run(TASK, 5)
    parent.turns[-1].observations = []
    for turn in (4, 5, -1):
        episode = await run.run(TASK, 1, Start(parent, turn))
        assert episode.cause == "restore_failed", turn


async def test_tokens_of_another_tokenizer_are_refused() -> None:
    parent = await runner(Sum).run(TASK, 5)
    parent.segments[0].tokens[3] += 1
    with pytest.raises(RestoreError, match="do not come out"):
        prefix(Start(parent, 2), format_of("compact"))


async def test_kept_turns_are_trained_only_when_asked() -> None:
    run = runner(Sum)
    parent = await run.run(TASK, 5)
    fork = await run.run(TASK, 6, Start(parent, 2, trained=True))
    (mine,), (theirs,) = fork.segments, parent.segments
    kept = len(until(parent, 2))
    for name in ("tokens", "origin", "logprobs", "turn", "weights"):
        assert np.array_equal(getattr(mine, name)[:kept], getattr(theirs, name)[:kept]), name


async def test_a_given_beginning_of_the_turn_and_a_hint_before_it() -> None:
    run = runner(Sum)
    parent = await run.run(TASK, 5)
    head = tokenizer_of("compact").encode_plain("\n\n")
    hint = Message("user", "add two", hint=True)
    fork = await run.run(TASK, 6, Start(parent, 2, head, Origin.HINT, [hint]))
    assert fork.turns[2].text.startswith("\n\n[add(")
    assert fork.turns[2].forced == len(head)
    assert fork.turns[2].results[0].ok
    (segment,) = fork.segments
    stripped = segment.tokens[segment.origin != Origin.HINT]
    plain = await run.run(TASK, 6, Start(parent, 2))
    assert stripped.tolist() == plain.segments[0].tokens.tolist()
    # And the fork can be forked behind its head, which stays a hint.
    again = await run.run(TASK, 7, Start(fork, 3, trained=True))
    kept = len(until(fork, 3))
    assert again.segments[0].origin[:kept].tolist() == segment.origin[:kept].tolist()


async def test_a_shared_prefix_is_one_branch_for_the_learner() -> None:
    scheduler = Scheduler(runner(Sum, turns=8))
    parent = await scheduler.runner.run(TASK, 5)
    group = await scheduler.fork(Start(parent, 6), 5, seed=1)
    rows = make_rows(group.episodes)
    (batch,) = schedule(rows, 1 << 20)
    shared = len(until(parent, 6))
    assert len(pack(batch).tokens) <= sum(map(len, rows)) - 4 * shared


async def test_turns_are_worth_what_they_change() -> None:
    scheduler = Scheduler(runner(Sum))
    parent = await scheduler.runner.run(TASK, 5)
    groups = await vine(scheduler, parent, 40, seed=3)
    steps = parent.scores["reward"].steps
    start = np.mean([e.reward for e in groups[0].episodes])
    assert sum(steps) == pytest.approx(parent.reward - start)
    for turn, step in zip(parent.turns, steps, strict=True):
        # A draw is 1.5 in the mean; continuations from both sides of it estimate the difference.
        assert step == pytest.approx(turn.calls[0].arguments["number"] - 1.5, abs=0.45)
    assert steps[-1] == pytest.approx(parent.reward - np.mean([e.reward for e in groups[3].judged]))
    for episode in groups[1].episodes:
        episode.status = Status.INFRA_ERROR
    assert credit_turns(parent, groups) is None


class Held(Environment):
    def reset(self, task: Task) -> str:
        self.file = open(__file__)  # noqa: SIM115
        return task.prompt


async def test_what_is_more_than_a_value_has_no_snapshot() -> None:
    environment = Held()
    environment.reset(TASK)
    with pytest.raises(NoSnapshot, match="'file'"):
        await environment.snapshot()
    environment.file.close()


async def test_an_attempt_of_a_script_is_taken_up_by_a_policy() -> None:
    def script(seed: int) -> Iterator[str]:
        yield ""
        yield "[add(number=2)]"
        yield "[add(number=5)]"

    run = runner(Sum)
    scripted = Runner(
        ScriptedEngine(script, tokenizer_of("compact")),  # type: ignore[arg-type]
        tokenizer_of("compact"),
        dialect("pythonic"),
        Sum,
        Verdict(),
        Limits(turns=4),
    )
    parent = await scripted.run(TASK, 1)
    fork = await run.run(TASK, 2, Start(parent, 1))
    assert fork.outcome["total"] == 2 + sum(
        int(t.calls[0].arguments["number"]) for t in fork.turns[1:]
    )
