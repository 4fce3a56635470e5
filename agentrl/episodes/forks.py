"""Taking a recorded episode up again: the environment as it was, the tokens as they were.

    episode     prompt  turn 0  turn 1  turn 2 ...
    Start(2)    prompt  turn 0  turn 1  | what is sampled now
                -- kept, token by token --

The environment gets there by a snapshot where there is one, else by the recorded calls, whose
answers are compared with the record.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import hashlib
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from agentrl.core import (
    Episode,
    Generation,
    InfraError,
    Message,
    NoSnapshot,
    Origin,
    RestoreError,
    Start,
    Turn,
)
from agentrl.environments import Environment, maybe_await
from agentrl.episodes.chatformat import ChatFormat
from agentrl.episodes.transcript import Transcript

_SHOWN = 300


@dataclass(slots=True)
class States:
    """Snapshots of environments between turns, in memory, by episode and turn.

    Attributes:
        limit: snapshots kept; the oldest goes first.
        every_turn: also take one before every turn of every episode, so that an episode can be
            forked without its calls being replayed.
    """

    limit: int = 8
    every_turn: bool = False
    _kept: OrderedDict[Hashable, Any] = field(default_factory=OrderedDict, init=False)
    _locks: dict[Hashable, asyncio.Lock] = field(default_factory=dict, init=False)

    def get(self, key: Hashable) -> Any | None:
        return self._kept.get(key)

    def without(self, key: Hashable) -> bool:
        """Whether it is known that there can be no snapshot."""
        return key in self._kept and self._kept[key] is None

    def lock(self, key: Hashable) -> asyncio.Lock:
        """Held by the one of several forks that takes the environment there first."""
        return self._locks.setdefault(key, asyncio.Lock())

    async def keep(self, key: Hashable, environment: Environment) -> None:
        """Keep the environment's state, or that it has none to give."""
        state: Any = None
        with contextlib.suppress(NoSnapshot):
            state = await environment.snapshot()
        self._kept[key] = state
        while len(self._kept) > self.limit:
            dropped, _ = self._kept.popitem(last=False)
            self._locks.pop(dropped, None)


def state_key(episode: Episode, turn: int) -> tuple[str, int, str]:
    """What names the state before a turn. An id is not enough: the same task and seed under other
    weights, or in an environment with a will of its own, is another conversation."""
    digest = hashlib.blake2b(digest_size=16)
    for done in episode.turns[:turn]:
        digest.update(done.tokens.tobytes() + b"\0")
        for message in done.observations:
            digest.update(f"{message.role}\0{message.content}\0".encode("utf-8", "replace"))
    return episode.id, turn, digest.hexdigest()


async def go_back(start: Start, environment: Environment, states: States) -> dict[str, Any]:
    """Take a new environment to where the episode is taken up; how, for `Episode.branch`.

    Raises:
        RestoreError: it answers otherwise than recorded, or cannot get there.
    """
    _check(start)
    key = state_key(start.episode, start.turn)
    branch = {"episode": start.episode.id, "turn": start.turn, "how": "snapshot", "checked": 0}
    if start.turn == 0:
        await _reset(start, environment)
        return branch | {"how": "start"}
    if states.get(key) is None and not states.without(key):
        async with states.lock(key):
            if states.get(key) is None and not states.without(key):
                checked = await _retrace(start, environment)
                await states.keep(key, environment)
                return branch | {"how": "replay", "checked": checked}
    state = states.get(key)
    if state is None:
        return branch | {"how": "replay", "checked": await _retrace(start, environment)}
    await environment.restore(start.task, state)
    _same_tools(start, environment)
    return branch


def _check(start: Start) -> None:
    turns = len(start.episode.turns)
    over = start.turn == turns and turns > 0 and not start.episode.turns[-1].observations
    if 0 <= start.turn <= turns and not over:
        return
    last = turns - 1 if over else turns
    raise RestoreError(
        "restore_failed",
        f"there is no turn {start.turn} to begin at: the episode has {turns} turns"
        + (" and ended with the last" if over else ""),
        where=f"episode {start.episode.id!r}",
        fix=f"begin at one from 0 to {last}",
    )


async def _reset(start: Start, environment: Environment) -> None:
    opening = await maybe_await(environment.reset(start.task))
    now = [Message("user", opening)] if isinstance(opening, str) else list(opening)
    recorded = [m for m in start.episode.prompt if not m.hint]
    _compare(start, environment, "the prompt", recorded, now)
    _same_tools(start, environment)


async def _retrace(start: Start, environment: Environment) -> int:
    """Replay the recorded calls; how many observations were compared."""
    await _reset(start, environment)
    checked = 0
    for index, recorded in enumerate(start.episode.turns[: start.turn]):
        turn = replace(
            recorded,
            calls=copy.deepcopy(recorded.calls),
            results=[],
            observations=[],
            rewards={},
            seconds={},
        )
        try:
            observation = await maybe_await(environment.step(turn))
        except InfraError:
            raise
        except Exception as error:  # the boundary to user-written environments
            what = f"turn {index} raised when it was replayed: {type(error).__name__}: {error}"
            raise RestoreError("restore_failed", what, where=_name(start)) from error
        if observation.done:
            what = f"turn {index} ended the episode when it was replayed"
            raise RestoreError("restore_diverged", what, where=_name(start))
        heard = [m for m in recorded.observations if not m.hint]
        _compare(start, environment, f"turn {index}", heard, observation.messages)
        checked += len(heard)
    return checked


def _compare(
    start: Start,
    environment: Environment,
    what: str,
    recorded: Sequence[Message],
    now: Sequence[Message],
) -> None:
    then, new = ([(m.role, [i.data for i in m.images]) for m in ms] for ms in (recorded, now))
    pairs = list(zip(recorded, now, strict=False))
    odd = next((p for p in pairs if not environment.agrees(p[0].content, p[1].content)), None)
    if then == new and odd is None:
        return
    said = (
        f"recorded {_short(odd[0].content)}, now {_short(odd[1].content)}"
        if odd is not None
        else f"recorded {len(recorded)} messages, now {len(now)}, or other images"
    )
    raise RestoreError(
        "restore_diverged",
        f"{what} was answered otherwise than recorded: {said}",
        where=_name(start),
        fix="the environment is not deterministic: give it `snapshot` and `restore`, or an "
        "`agrees` that leaves out what does not matter",
    )


def _same_tools(start: Start, environment: Environment) -> None:
    if [tool.spec for tool in environment.tools.values()] != start.episode.tools:
        what = "the environment offers other tools than recorded"
        raise RestoreError("restore_diverged", what, where=_name(start))


def prefix(start: Start, chat: ChatFormat) -> Transcript:
    """The transcript of what is kept, and of the messages shown before the new turn.

    Raises:
        RestoreError: the record's tokens do not come out again (another tokenizer or template).
    """
    episode, transcript = start.episode, Transcript(chat)
    if start.turn == 0:
        transcript.open([*episode.prompt, *start.messages])
        return transcript
    transcript.open(episode.prompt)
    for index, turn in enumerate(episode.turns[: start.turn]):
        said, origin, sampled = _said(episode, turn, index)
        transcript.add_turn(said, index, turn.tokens[: turn.forced].tolist(), origin)
        if not sampled:  # the record itself had taken it over as context
            transcript.forget_sampled()
        last = index + 1 == start.turn
        if last:
            _check_tokens(start, transcript)
            if not start.trained:
                transcript.forget_sampled()
        extra = start.messages if last else ()
        transcript.add_observations([*turn.observations, *extra], index, turn.calls)
    return transcript


def _said(episode: Episode, turn: Turn, index: int) -> tuple[Generation, Origin, bool]:
    """What was sampled in a turn, with the versions that its segment knows; the origin of what it
    was made to begin with; and whether the record has it as sampled."""
    tokens, logprobs = turn.tokens[turn.forced :], turn.logprobs[turn.forced :]
    versions, origin, sampled = np.full(len(tokens), -1, np.int32), Origin.PROMPT, False
    for segment in episode.segments:
        mine = segment.action_mask & (segment.turn == index)
        if mine.sum() == len(tokens):
            versions, sampled = segment.weights[mine], True
            first = int(np.flatnonzero(mine)[0]) if len(tokens) else 0
            if turn.forced and segment.origin[first - 1] == Origin.HINT:
                origin = Origin.HINT
    reason: Any = turn.finish_reason
    return Generation(tokens, logprobs, versions, reason), origin, sampled


def _check_tokens(start: Start, transcript: Transcript) -> None:
    built = transcript.segments()
    recorded = start.episode.segments[: len(built)]
    same = len(recorded) == len(built) and all(
        np.array_equal(mine.tokens, theirs.tokens[: len(mine)])
        for mine, theirs in zip(built, recorded, strict=True)
    )
    if not same:
        raise RestoreError(
            "restore_failed",
            "the recorded tokens do not come out of the recorded messages",
            where=_name(start),
            fix="take the model, template and dialect that the episode was recorded with, or "
            "render it anew (agentrl.episodes.rerender)",
        )


def _name(start: Start) -> str:
    return f"episode {start.episode.id!r} of task {start.task.id!r}"


def _short(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")
