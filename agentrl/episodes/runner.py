"""One episode: engine and environment talk until it is complete, then rewards judge it."""

from __future__ import annotations

import asyncio
import secrets
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from agentrl.core import (
    Engine,
    Episode,
    Generation,
    Guide,
    InfraError,
    Message,
    Origin,
    Reward,
    Sampling,
    Start,
    Status,
    Task,
    ToolCall,
    Turn,
    derive_seed,
)
from agentrl.environments import Environment, Observation, maybe_await
from agentrl.episodes.dialects import Dialect, Specs
from agentrl.episodes.forks import States, go_back, prefix, state_key
from agentrl.episodes.formats import ChatFormats
from agentrl.episodes.slots import Resources
from agentrl.episodes.transcript import Transcript
from agentrl.models import ChatTokenizer
from agentrl.rewards import judge

CUT_OFF = "the message was cut off by the length limit before it ended; nothing was executed"


@dataclass(slots=True, frozen=True)
class Limits:
    """What one episode may use.

    Attributes:
        turns: policy messages.
        tokens: ids of the whole conversation, observations included.
        tokens_per_turn: ids of one policy message.
        seconds: wall time from the first message to the last, waiting included.
        closing_seconds: wall time for judging and clean-up after that.
        repeats: turns in a row that made the same calls and got the same answers, after which the
            episode is stuck and aborted; None: it may go on.
    """

    turns: int = 16
    tokens: int = 8192
    tokens_per_turn: int = 512
    seconds: float = 900.0
    closing_seconds: float = 300.0
    repeats: int | None = None


@dataclass(slots=True)
class Runner:
    """Runs episodes of one policy in one kind of environment.

    Attributes:
        make_environment: called once per episode.
        source: what `Episode.source` says of the tokens ("policy" or "script").
        judged: ask for outcome and verdict at the end; imitation needs neither.
        resources: how many episodes may use the engine, and be judged, at once.
        states: snapshots of environments, for episodes that take up others.
    """

    engine: Engine
    tokenizer: ChatTokenizer
    dialect: Dialect
    make_environment: Callable[[], Environment]
    reward: Reward
    limits: Limits = field(default_factory=Limits)
    sampling: Sampling = field(default_factory=Sampling)
    source: str = "policy"
    judged: bool = True
    resources: Resources = field(default_factory=Resources)
    states: States = field(default_factory=States)
    _formats: ChatFormats = field(init=False)

    def __post_init__(self) -> None:
        self._formats = ChatFormats(self.tokenizer, self.dialect)

    async def run(
        self, task: Task, seed: int, start: Start | None = None, guide: Guide | None = None
    ) -> Episode:
        """One episode, whatever happens; with `start`, one that takes up another, with `guide`, one
        that is given hints (where it takes up another, only those of later turns).

        What the policy causes ends in its own status; everything else (a dead sandbox, an
        environment that raises) ends in INFRA_ERROR with the cause. Only cancellation raises.
        """
        episode = Episode(task, id=f"{task.id}-{seed:016x}", seed=seed, source=self.source)
        # Two at once may have one task and seed, and so one id, but no conversation in common.
        session = f"{episode.id}#{secrets.token_hex(4)}"
        guide = guide or Guide()
        episode.guidance = dict(guide.note)
        started = time.perf_counter()
        environment: Environment | None = None
        try:
            environment = self.make_environment()
            await self._play(episode, session, environment, start, guide)
            if self.judged:
                await self._close_book(episode, environment)
        except InfraError as error:
            fail(episode, error.cause, str(error))
        except asyncio.CancelledError as error:
            if _cancelled():
                raise
            fail(episode, "environment_raised", trace(error))  # a stray one, of a tool's own
        except Exception as error:  # noqa: BLE001 the boundary to user-written environments
            fail(episode, "environment_raised", trace(error))
        finally:
            await self._release(episode, session, environment)
        episode.timings["total"] = time.perf_counter() - started
        return episode

    def with_sampling(self, sampling: Sampling) -> Runner:
        return replace(self, sampling=sampling)

    async def _play(
        self,
        episode: Episode,
        session: str,
        environment: Environment,
        start: Start | None,
        guide: Guide,
    ) -> None:
        started = time.perf_counter()
        if start is None:
            opening = await maybe_await(environment.reset(episode.task))
            plain = [Message("user", opening)] if isinstance(opening, str) else opening
            episode.prompt = guide.open(plain)
            episode.tools = [tool.spec for tool in environment.tools.values()]
            transcript = Transcript(self._formats.of(episode.tools))
            transcript.open(episode.prompt)
        else:
            transcript = await self._take_up(episode, environment, start)
        episode.timings["reset"] = time.perf_counter() - started
        deadline = asyncio.timeout(self.limits.seconds)
        try:
            async with deadline:
                episode.status = await self._talk(
                    episode, session, environment, transcript, start, guide
                )
        except TimeoutError:
            if not deadline.expired():  # the environment's own, which the policy did not cause
                raise
            episode.status = Status.DEADLINE
        finally:
            episode.segments = transcript.segments()

    async def _take_up(
        self, episode: Episode, environment: Environment, start: Start
    ) -> Transcript:
        """Environment and transcript as they were before the turn to begin at."""
        episode.branch = await go_back(start, environment, self.states)
        episode.prompt = list(start.episode.prompt)
        episode.turns = [replace(turn) for turn in start.episode.turns[: start.turn]]
        episode.tools = start.episode.tools
        if start.turn == 0:
            episode.prompt += start.messages
        elif start.messages:
            last = episode.turns[-1]
            last.observations = [*last.observations, *start.messages]
        return prefix(start, self._formats.of(episode.tools))

    async def _talk(
        self,
        episode: Episode,
        session: str,
        environment: Environment,
        transcript: Transcript,
        start: Start | None,
        guide: Guide,
    ) -> Status:
        head: list[int] = [] if start is None else list(start.head)
        for index in range(len(episode.turns), self.limits.turns):
            used = len(transcript.tokens) + len(head)
            room = min(self.limits.tokens_per_turn, self.limits.tokens - used)
            if room < 1:
                return Status.MAX_TOKENS
            if self.states.every_turn and index:
                await self.states.keep(state_key(episode, index), environment)
            started = time.perf_counter()
            seed = derive_seed(episode.seed, "turn", index)
            said = await self._generate(session, seed, transcript, head, room)
            if not len(said.tokens):
                return Status.MAX_TOKENS
            origin = Origin.PROMPT if start is None else start.head_origin
            turn = read_turn(transcript, said, index, self.dialect, episode.tools, head, origin)
            head = []
            turn.seconds["generate"] = time.perf_counter() - started
            episode.turns.append(turn)
            observation = await self._observe(environment, turn)
            if observation.done:
                return Status.COMPLETED
            if stuck(episode.turns, self.limits.repeats):
                return Status.ABORTED
            if said.finish_reason == "length" and room < self.limits.tokens_per_turn:
                return Status.MAX_TOKENS
            if index + 1 < self.limits.turns:
                turn.observations = guide.before(index + 1, turn.observations)
                transcript.add_observations(turn.observations, index, turn.calls)
        return Status.MAX_TURNS

    async def _generate(
        self, session: str, seed: int, transcript: Transcript, head: Sequence[int], room: int
    ) -> Generation:
        sampling = Sampling(self.sampling.temperature, room, self.tokenizer.stop_ids)
        async with self.resources.engine:
            return await self.engine.generate(
                [*transcript.tokens, *head],
                sampling,
                session=session,
                seed=seed,
                images=transcript.images,
            )

    async def _observe(self, environment: Environment, turn: Turn) -> Observation:
        started = time.perf_counter()
        observation: Observation = await maybe_await(environment.step(turn))
        turn.observations = list(observation.messages)
        turn.rewards = dict(observation.rewards)
        turn.seconds["tools"] = time.perf_counter() - started
        return observation

    async def _close_book(self, episode: Episode, environment: Environment) -> None:
        """Ask the environment for the outcome and the rewards for their verdict."""
        started = time.perf_counter()
        try:
            async with (
                self.resources.judges,
                (deadline := asyncio.timeout(self.limits.closing_seconds)),
            ):
                episode.outcome = dict(await maybe_await(environment.finish(episode)) or {})
                await judge(self.reward, episode)
        except TimeoutError:
            if not deadline.expired():
                raise
            limit = self.limits.closing_seconds
            raise InfraError("judge_deadline", f"no verdict within {limit:g} s") from None
        episode.timings["judge"] = time.perf_counter() - started

    async def _release(
        self, episode: Episode, session: str, environment: Environment | None
    ) -> None:
        """Free what the episode held, also when it is cancelled once more meanwhile."""
        freeing = asyncio.ensure_future(self._free(episode, session, environment))
        try:
            await asyncio.shield(freeing)
        except asyncio.CancelledError:
            await freeing
            raise

    async def _free(self, episode: Episode, session: str, environment: Environment | None) -> None:
        """A failure here never changes what was already decided."""
        stages = [lambda: self.engine.end_session(session)]
        if environment is not None:
            stages.append(lambda: maybe_await(environment.close()))
        for stage in stages:
            try:
                async with asyncio.timeout(self.limits.closing_seconds):
                    await stage()
            except Exception as error:  # noqa: BLE001 the boundary to user-written environments
                episode.outcome["close_error"] = f"{type(error).__name__}: {error}"


def read_turn(
    transcript: Transcript,
    said: Generation,
    index: int,
    speaks: Dialect,
    tools: Specs,
    head: Sequence[int] = (),
    head_origin: Origin = Origin.PROMPT,
) -> Turn:
    """Record what was sampled (behind `head`), and read its calls; those of a message that was cut
    off are errors."""
    text = transcript.add_turn(said, index, head, head_origin)
    calls = speaks.parse(text, tools)
    if said.finish_reason != "stop":
        calls = calls or [ToolCall("", raw=text)]
        for call in calls:
            call.error = CUT_OFF
    for i, call in enumerate(calls):
        call.id = call.id or f"call_{index}_{i}"
    tokens, logprobs = said.tokens, said.logprobs
    if head:
        tokens = np.concatenate([np.asarray(head, np.int32), tokens])
        logprobs = np.concatenate([np.zeros(len(head), np.float32), logprobs])
    reason = said.finish_reason
    return Turn(tokens, logprobs, text, calls, finish_reason=reason, forced=len(head))


def stuck(turns: Sequence[Turn], repeats: int | None) -> bool:
    """Whether the last `repeats` turns were all alike in what they asked for and what came of it;
    a turn without a call counts by its text."""
    if repeats is None or len(turns) < repeats:
        return False
    last, *others = map(_did, turns[-repeats:])
    return all(other == last for other in others)


def _did(turn: Turn) -> tuple[Any, ...]:
    """What a turn asked for and what came of it, without the ids of its calls."""
    asked = [(call.name, call.arguments) for call in turn.calls] or turn.text
    return asked, [(m.role, m.content, m.images) for m in turn.observations]


def _cancelled() -> bool:
    """Whether somebody asked the running task to stop."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def trace(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)[-3:])


def fail(episode: Episode, cause: str, what: str) -> None:
    episode.status, episode.cause = Status.INFRA_ERROR, cause
    error: dict[str, Any] = {"error": what}
    episode.outcome = {**episode.outcome, **error}
