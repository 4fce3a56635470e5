"""One episode ends in one status, is judged once, and frees what it held, whatever happens."""

import asyncio
from collections.abc import Callable

import numpy as np
import pytest
from episodes_kit import Verdict, scripted_runner, task, tokenizer_of

from agentrl.core import (
    Episode,
    Generation,
    InfraError,
    Message,
    Sampling,
    Status,
    ToolCall,
    Turn,
)
from agentrl.engines import ScriptedEngine
from agentrl.environments import Environment, Observation
from agentrl.episodes import Limits, Runner
from agentrl.episodes.runner import stuck
from agentrl.tools import tool


class Room(Environment):
    """Notes what happens to it; `trouble[stage]` is called at that stage."""

    def __init__(self, **trouble: Callable[[], object]) -> None:
        self.trouble, self.happened = trouble, []

    async def note(self, stage: str) -> None:
        self.happened.append(stage)
        if stage in self.trouble:
            made = self.trouble[stage]()
            if asyncio.iscoroutine(made):
                await made

    async def reset(self, task):
        await self.note("reset")
        return task.prompt

    async def step(self, turn: Turn) -> Observation:
        await self.note("step")
        return await super().step(turn)

    async def finish(self, episode: Episode) -> dict:
        await self.note("finish")
        return {"ran": self.happened.count("ran")}

    async def close(self) -> None:
        await self.note("close")

    @tool
    async def run(self) -> str:
        """Run it."""
        await self.note("ran")
        return "it ran"


class Watched(ScriptedEngine):
    """A scripted engine that remembers which conversations are open."""

    def __init__(self, inner: ScriptedEngine) -> None:
        super().__init__(inner._script, inner._tokenizer)
        self.open: list[str] = []
        self.ended: list[str] = []

    async def generate(
        self, tokens, sampling: Sampling, *, session="", seed=0, images=()
    ) -> Generation:
        self.open.append(session)
        return await super().generate(tokens, sampling, session=session, seed=seed)

    async def end_session(self, session: str) -> None:
        self.ended.append(session)
        await super().end_session(session)


def set_up(room: Room, *messages: str, **settings) -> tuple[Runner, Verdict]:
    verdict = Verdict(0.5)
    runner = scripted_runner(lambda: room, *messages, reward=verdict, **settings)
    runner.engine = Watched(runner.engine)
    return runner, verdict


def check_freed(runner: Runner, room: Room, episode: Episode | None = None) -> None:
    assert room.happened.count("close") == 1
    assert room.happened[-1] == "close"
    assert len(runner.engine.ended) == 1
    assert set(runner.engine.open) <= set(runner.engine.ended)
    if episode is not None:
        assert runner.engine.ended[0].startswith(f"{episode.id}#")


def raises(error: BaseException) -> Callable[[], None]:
    def trouble() -> None:
        raise error

    return trouble


def hangs() -> object:
    return asyncio.sleep(60)


TOKENS_OF_ONE = 60


@pytest.mark.parametrize(
    ("status", "messages", "limits", "turns"),
    [
        (Status.COMPLETED, ["[run()]", "done"], Limits(), 2),
        (Status.MAX_TURNS, ["[run()]"] * 9, Limits(turns=3), 3),
        (Status.MAX_TOKENS, ["[run()]"] * 9, Limits(turns=9, tokens=TOKENS_OF_ONE), None),
        (Status.MAX_TOKENS, ["word " * 50], Limits(tokens=TOKENS_OF_ONE), 1),
        (Status.MAX_TOKENS, ["done"], Limits(tokens=3), 0),
        (Status.MAX_TURNS, ["word " * 50] * 2, Limits(turns=2, tokens_per_turn=4), 2),
        (Status.ABORTED, ["[run()]"] * 9, Limits(repeats=4), 4),
    ],
)
async def test_how_an_episode_ends(status, messages, limits, turns) -> None:
    room = Room()
    runner, verdict = set_up(room, *messages, limits=limits)
    episode = await runner.run(task(), 1)
    assert (episode.status, episode.cause) == (status, "")
    if turns is None:
        assert 0 < len(episode.turns) < 9
    else:
        assert len(episode.turns) == turns
    assert len(episode.segments[-1]) <= limits.tokens or status != Status.MAX_TOKENS or not turns
    assert episode.judged
    assert (episode.reward, verdict.asked) == (0.5, 1)
    assert episode.outcome == {"ran": room.happened.count("ran")}
    assert [t["function"]["name"] for t in episode.tools] == ["run"]
    assert episode.trained_tokens == sum(len(t.tokens) for t in episode.turns)
    assert room.happened.count("finish") == 1
    check_freed(runner, room, episode)


def test_only_the_same_calls_with_the_same_answers_in_a_row_are_stuck() -> None:
    def did(mark: int, answer: str, index: int) -> Turn:
        none = np.zeros(0, np.float32)
        call = ToolCall("turn", {"mark": mark}, id=f"call_{index}_0")
        said = Message("tool", answer, call_id=call.id)
        return Turn(none, none, f"thought {index}", [call], observations=[said])

    def turns(*played: tuple[int, str]) -> list[Turn]:
        return [did(mark, answer, i) for i, (mark, answer) in enumerate(played)]

    assert stuck(turns((1, "no"), (1, "no"), (1, "no")), 3)
    assert stuck(turns((2, "no"), (1, "no"), (1, "no")), 2)
    assert not stuck(turns((2, "no"), (1, "no"), (1, "no")), 3)
    assert not stuck(turns((1, "no"), (1, "maybe"), (1, "no")), 2)
    assert not stuck(turns((1, "no"), (1, "no")), 3)
    assert not stuck(turns((1, "no"), (1, "no"), (1, "no")), None)


async def test_a_slow_tool_meets_the_deadline_and_the_episode_is_judged() -> None:
    room = Room(ran=hangs)
    runner, verdict = set_up(room, "[run()]", limits=Limits(seconds=0.2))
    episode = await runner.run(task(), 1)
    assert episode.status == Status.DEADLINE
    assert (episode.reward, verdict.asked) == (0.5, 1)
    assert len(episode.turns) == 1
    assert episode.trained_tokens == len(episode.turns[0].tokens)
    check_freed(runner, room, episode)


async def test_a_timeout_of_the_environment_is_not_the_policys_deadline() -> None:
    for stage in ("reset", "step", "finish"):
        room = Room(**{stage: raises(TimeoutError("the database"))})
        runner, verdict = set_up(room, "[run()]")
        episode = await runner.run(task(), 1)
        assert (episode.status, episode.cause) == (Status.INFRA_ERROR, "environment_raised")
        assert not episode.scores
        assert verdict.asked == 0
        check_freed(runner, room, episode)


@pytest.mark.parametrize("message", ["[run(), run(), run(), run()]", "[run()]" + " " * 90 + "x"])
@pytest.mark.parametrize("cut", range(1, 8))
async def test_a_call_that_was_cut_off_is_never_executed_and_is_told_so(message, cut) -> None:
    room = Room()
    limits = Limits(turns=2, tokens_per_turn=cut)
    runner, _ = set_up(room, message, "x", limits=limits)
    episode = await runner.run(task(), 1)
    first = episode.turns[0]
    assert first.finish_reason == "length"
    assert "ran" not in room.happened
    assert first.calls
    assert all("cut off" in m.content and m.role == "tool" for m in first.observations)
    assert all(r.error == "cut_off" for r in first.results)


async def test_complete_calls_run_once_each_and_malformed_ones_never() -> None:
    room = Room()
    runner, _ = set_up(room, "[run(), run(1), walk(), run()]", "done")
    episode = await runner.run(task(), 1)
    turn = episode.turns[0]
    assert room.happened.count("ran") == 2
    assert [r.error for r in turn.results] == [None, "malformed", "unknown_tool", None]
    assert len({call.id for call in turn.calls}) == 4
    assert [m.call_id for m in turn.observations] == [call.id for call in turn.calls]


async def test_broken_infrastructure_in_a_tool_is_no_reward() -> None:
    room = Room(ran=raises(InfraError("sandbox_died", "gone")))
    runner, verdict = set_up(room, "[run()]", "done")
    episode = await runner.run(task(), 1)
    assert (episode.status, episode.cause) == (Status.INFRA_ERROR, "sandbox_died")
    assert "gone" in episode.outcome["error"]
    assert not episode.judged
    assert not episode.scores
    assert verdict.asked == 0
    assert "finish" not in room.happened
    check_freed(runner, room, episode)


@pytest.mark.parametrize("stage", ["reset", "step", "finish"])
@pytest.mark.parametrize(
    "error",
    [ValueError("mine"), KeyError("k"), asyncio.CancelledError(), InfraError("db_down", "d")],
)
async def test_an_environment_that_raises_costs_its_episode_and_nothing_else(stage, error) -> None:
    room = Room(**{stage: raises(error)})
    runner, verdict = set_up(room, "[run()]", "done")
    episode = await runner.run(task(), 1)
    assert episode.status == Status.INFRA_ERROR
    assert episode.cause == getattr(error, "cause", "environment_raised")
    assert episode.outcome["error"]
    assert not episode.judged
    assert verdict.asked == 0
    check_freed(runner, room, episode)


@pytest.mark.parametrize("error", [ValueError("mine"), InfraError("db_down", "d"), TimeoutError()])
async def test_a_failing_clean_up_does_not_change_the_verdict(error) -> None:
    room = Room(close=raises(error))
    runner, verdict = set_up(room, "done")
    episode = await runner.run(task(), 1)
    assert episode.status == Status.COMPLETED
    assert (episode.reward, verdict.asked) == (0.5, 1)
    assert type(error).__name__ in episode.outcome["close_error"]
    check_freed(runner, room, episode)


async def test_an_environment_that_cannot_be_made() -> None:
    runner = scripted_runner(raises(OSError("no space left")), "done")
    episode = await runner.run(task(), 1)
    assert (episode.status, episode.cause) == (Status.INFRA_ERROR, "environment_raised")
    assert "no space left" in episode.outcome["error"]


async def test_an_engine_that_fails_to_end_a_session_does_not_keep_the_environment_open() -> None:
    room = Room()
    runner, _ = set_up(room, "done")

    async def broken(session: str) -> None:
        raise InfraError("engine_lost", "gone")

    runner.engine.end_session = broken
    episode = await runner.run(task(), 1)
    assert episode.judged
    assert room.happened.count("close") == 1


@pytest.mark.parametrize("stage", ["finish", "close"])
async def test_an_environment_that_hangs_at_the_end_is_left_behind(stage) -> None:
    room = Room(**{stage: hangs})
    runner, verdict = set_up(room, "done", limits=Limits(closing_seconds=0.2))
    episode = await asyncio.wait_for(runner.run(task(), 1), 20)
    if stage == "finish":
        assert (episode.status, episode.cause) == (Status.INFRA_ERROR, "judge_deadline")
        assert verdict.asked == 0
    else:
        assert episode.judged
    check_freed(runner, room, episode)


async def test_a_judge_that_is_down_leaves_the_episode_unjudged() -> None:
    class Down:
        name = "down"

        async def score(self, episode: Episode):
            raise InfraError("judge_down", "no answer")

    room = Room()
    runner, _ = set_up(room, "done")
    runner.reward = Down()
    episode = await runner.run(task(), 1)
    assert (episode.status, episode.cause) == (Status.INFRA_ERROR, "judge_down")
    assert not episode.scores
    assert episode.outcome["ran"] == 0
    check_freed(runner, room, episode)


@pytest.mark.parametrize("stage", ["reset", "step", "ran", "finish"])
@pytest.mark.parametrize("times", [1, 2])
async def test_cancellation_frees_the_environment(stage, times) -> None:
    reached = asyncio.Event()

    async def wait() -> None:
        reached.set()
        await asyncio.sleep(60)

    room = Room(**{stage: wait, "close": lambda: asyncio.sleep(0.05)})
    runner, _ = set_up(room, "[run()]", "done")
    running = asyncio.ensure_future(runner.run(task(), 1))
    await asyncio.wait_for(reached.wait(), 20)
    for _ in range(times):
        running.cancel()
        await asyncio.sleep(0.01)
    with pytest.raises(asyncio.CancelledError):
        await running
    check_freed(runner, room)


async def test_imitation_needs_no_verdict() -> None:
    room = Room()
    runner, verdict = set_up(room, "[run()]", "done", judged=False)
    episode = await runner.run(task(), 1)
    assert episode.status == Status.COMPLETED
    assert verdict.asked == 0
    assert not episode.scores
    assert "finish" not in room.happened
    check_freed(runner, room, episode)


async def test_plain_methods_will_do() -> None:
    class Sync(Environment):
        closed = 0

        def reset(self, task):
            return [Message("system", "s"), Message("user", task.prompt)]

        def step(self, turn):
            return Observation([], done=True, rewards={"style": 0.25})

        def finish(self, episode):
            return None

        def close(self):
            self.closed += 1

    room = Sync()
    episode = await scripted_runner(lambda: room, "done").run(task(), 1)
    assert episode.status == Status.COMPLETED, episode.outcome
    assert episode.turns[0].rewards == {"style": 0.25}
    assert [m.role for m in episode.prompt] == ["system", "user"]
    assert (episode.outcome, room.closed) == ({}, 1)


async def test_a_done_environment_hears_no_further_turn() -> None:
    class Ends(Environment):
        @tool
        async def submit(self) -> str:
            """Hand in."""
            self.done = True
            return "thanks"

    episode = await scripted_runner(Ends, "[submit(), submit()]", "again").run(task(), 1)
    assert episode.status == Status.COMPLETED
    assert len(episode.turns) == 1
    assert [r.error for r in episode.turns[0].results] == [None, "episode_over"]


async def test_the_engine_was_given_what_the_record_holds() -> None:
    given = []

    class Notes(Watched):
        async def generate(self, tokens, sampling, *, session="", seed=0, images=()):
            given.append((list(tokens), seed, sampling.stop))
            return await super().generate(tokens, sampling, session=session, seed=seed)

    runner, _ = set_up(Room(), "[run()]", "[run()]", "done")
    runner.engine = Notes(runner.engine)
    episode = await runner.run(task(), 1)
    (segment,) = episode.segments
    for index, (tokens, _, stop) in enumerate(given):
        start = int((segment.turn == index).argmax())
        assert segment.tokens[:start].tolist() == tokens
        assert stop == tokenizer_of("compact").stop_ids
    assert len({seed for _, seed, _ in given}) == 3
