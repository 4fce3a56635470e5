"""One conversation, or several that share their beginning, as a program sends them again and again.

Wire formats have no memory: each request holds the whole conversation. A request whose messages
begin with those of a conversation that is known continues it (prefix merge): only what is new is
rendered and tokenised, what was sampled stays as it was sampled. A request that repeats a
conversation up to an earlier turn and goes on differently is a fork; one that changes what was said
before (a compaction) begins anew. Either way every sampled token is trained once, where it was
sampled; elsewhere it is context.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from agentrl.core import (
    Engine,
    Episode,
    Generation,
    InfraError,
    Message,
    Sampling,
    Status,
    Task,
    ToolCall,
    Turn,
    derive_seed,
)
from agentrl.episodes.dialects import Dialect
from agentrl.episodes.formats import ChatFormats
from agentrl.episodes.runner import Limits, read_turn
from agentrl.episodes.slots import Slots
from agentrl.episodes.transcript import Transcript
from agentrl.models import ChatTokenizer


class Refused(Exception):
    """A request that is not answered by the policy: `code` says why, in one word."""

    def __init__(self, code: str, what: str) -> None:
        self.code = code
        super().__init__(what)


@dataclass(slots=True)
class Voice:
    """The policy behind a gateway, and how it speaks; shared by all sessions.

    Attributes:
        slots: how many messages the engine is asked for at once.
    """

    engine: Engine
    tokenizer: ChatTokenizer
    dialect: Dialect
    limits: Limits = field(default_factory=Limits)
    sampling: Sampling = field(default_factory=Sampling)
    slots: Slots = field(default_factory=Slots)
    formats: ChatFormats = field(init=False)

    def __post_init__(self) -> None:
        self.formats = ChatFormats(self.tokenizer, self.dialect)


@dataclass(slots=True, eq=False)
class Branch:
    """One conversation: what the program has of it, and its record.

    Attributes:
        messages: everything up to the last turn, as the program sends it.
        turns: (number of messages up to and with it, index in the episode) of every turn.
        history: the turns as they were sampled, to repeat them in a fork.
    """

    tools: list[dict[str, Any]]
    transcript: Transcript
    messages: list[Message] = field(default_factory=list)
    turns: list[tuple[int, int]] = field(default_factory=list)
    history: list[tuple[Generation, list[ToolCall]]] = field(default_factory=list)

    def known(self, messages: Sequence[Message], tools: list[dict[str, Any]]) -> int:
        """How many of this branch's turns the messages repeat."""
        if tools != self.tools:
            return 0
        same = 0
        for ours, theirs in zip(self.messages, messages, strict=False):
            if _key(ours) != _key(theirs):
                break
            same += 1
        return sum(end <= same for end, _ in self.turns)


@dataclass(slots=True)
class Session:
    """One episode of an agent program.

    Attributes:
        cause: what broke under the last request; "" once one was answered again.
        sampling: None is the voice's.
        context_tokens: length of the conversation that was spoken in last.
    """

    voice: Voice
    task: Task
    id: str
    seed: int = 0
    turns: list[Turn] = field(default_factory=list)
    branches: list[Branch] = field(default_factory=list)
    status: Status = Status.RUNNING
    cause: str = ""
    error: str = ""
    outcome: dict[str, Any] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)
    context_tokens: int = 0
    sampling: Sampling | None = None
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def answer(
        self, messages: Sequence[Message], tools: list[dict[str, Any]], max_tokens: int | None
    ) -> Turn:
        """The policy's next message to a conversation.

        Raises:
            Refused: the session is over, or a limit of it is reached.
            InfraError: the engine broke; the session may be asked again.
            ModelError: the template cannot render the messages.
        """
        async with self._lock:
            self._admit()
            branch = self._branch(messages, tools)
            return await self._speak(branch, max_tokens)

    def episode(self) -> Episode:
        """What was said so far, as an episode; segments of all branches, in the order of turns."""
        first = self.branches[0] if self.branches else None
        segments = [s for b in self.branches for s in b.transcript.segments()]
        trained = [s for s in segments if s.action_mask.any()]
        episode = Episode(
            self.task,
            id=self.id,
            seed=self.seed,
            status=self.status,
            prompt=first.messages[: first.turns[0][0] - 1] if first and first.turns else [],
            turns=list(self.turns),
            segments=sorted(trained, key=lambda s: int(s.turn[s.action_mask][0])),
            outcome=dict(self.outcome),
            tools=first.tools if first else [],
        )
        if self.cause:
            episode.status, episode.cause = Status.INFRA_ERROR, self.cause
            episode.outcome["error"] = self.error
        return episode

    def _admit(self) -> None:
        limits = self.voice.limits
        if self.status != Status.RUNNING:
            raise Refused(str(self.status), f"the session is over ({self.status})")
        if len(self.turns) >= limits.turns:
            self._end(Status.MAX_TURNS, f"the session has had its {limits.turns} turns")
        if time.monotonic() - self.started > limits.seconds:
            self._end(Status.DEADLINE, f"the session has had its {limits.seconds:g} s")

    def _end(self, status: Status, why: str) -> None:
        self.status = status
        raise Refused(str(status), why)

    def _branch(self, messages: Sequence[Message], tools: list[dict[str, Any]]) -> Branch:
        """The branch that the messages continue, made where there is none yet."""
        best = max(self.branches, key=lambda b: b.known(messages, tools), default=None)
        turns = best.known(messages, tools) if best else 0
        if best is None or not turns:
            return self._root(messages, tools)
        end = best.turns[turns - 1][0]
        new = list(messages[end:])
        if any(m.role == "assistant" for m in new):
            return self._root(messages, tools)
        unanswered = best.messages[end:] if turns == len(best.turns) else None
        if unanswered and list(map(_key, unanswered)) == list(map(_key, new)):
            return best  # asked once more, after the engine had failed
        if unanswered != []:
            best = self._fork(best, turns)
        self._hear(best, new)
        return best

    def _root(self, messages: Sequence[Message], tools: list[dict[str, Any]]) -> Branch:
        branch = Branch(tools, Transcript(self.voice.formats.of(tools)), list(messages))
        branch.transcript.open(messages)
        self.branches.append(branch)
        return branch

    def _fork(self, parent: Branch, turns: int) -> Branch:
        """A copy of `parent` up to a turn; what stands in it is trained there, not here."""
        branch = Branch(parent.tools, Transcript(self.voice.formats.of(parent.tools)))
        end = 0
        for i in range(turns):
            said_at = parent.turns[i][0] - 1
            heard = parent.messages[end:said_at]
            self._add(branch, heard, parent.turns[i - 1][1] if i else -1)
            generation, calls = parent.history[i]
            branch.transcript.add_turn(generation, parent.turns[i][1])
            branch.messages.append(parent.messages[said_at])
            branch.turns.append(parent.turns[i])
            branch.history.append((generation, calls))
            end = said_at + 1
        branch.transcript.freeze()
        self.branches.append(branch)
        return branch

    def _hear(self, branch: Branch, new: list[Message]) -> None:
        turn = branch.turns[-1][1]
        calls = {c.id: c.name for c in self.turns[turn].calls}
        for message in new:
            message.name = message.name or calls.get(message.call_id, "")
        self.turns[turn].observations = self.turns[turn].observations or list(new)
        self._add(branch, new, turn)

    def _add(self, branch: Branch, new: list[Message], turn: int) -> None:
        if branch.turns:
            branch.transcript.add_observations(new, turn, branch.history[-1][1])
        else:
            branch.transcript.open(new)
        branch.messages += new

    async def _speak(self, branch: Branch, max_tokens: int | None) -> Turn:
        voice, index = self.voice, len(self.turns)
        left = voice.limits.tokens - len(branch.transcript.tokens)
        room = min(left, voice.limits.tokens_per_turn, max_tokens or left)
        if room < 1:
            self._end(Status.MAX_TOKENS, f"the session has had its {voice.limits.tokens} tokens")
        said = await self._generate(branch, index, room)
        if not len(said.tokens):
            self._end(Status.MAX_TOKENS, "the conversation fills the model's context")
        if said.finish_reason == "length" and room == left:
            self.status = Status.MAX_TOKENS  # this message is the session's last
        turn = read_turn(branch.transcript, said, index, voice.dialect, branch.tools)
        self.turns.append(turn)
        branch.messages.append(as_sent(turn))
        branch.turns.append((len(branch.messages), index))
        branch.history.append((said, turn.calls))
        self.context_tokens = len(branch.transcript.tokens)
        return turn

    async def _generate(self, branch: Branch, index: int, room: int) -> Generation:
        started = time.perf_counter()
        temperature = (self.sampling or self.voice.sampling).temperature
        sampling = Sampling(temperature, room, self.voice.tokenizer.stop_ids)
        # A branch is a session of its own to the engine: their caches must not be mixed up.
        number = next(i for i, b in enumerate(self.branches) if b is branch)
        session = self.id if number == 0 else f"{self.id}/{number}"
        seed = derive_seed(self.seed, "turn", index)
        try:
            async with self.voice.slots:
                said = await self.voice.engine.generate(
                    branch.transcript.tokens,
                    sampling,
                    session=session,
                    seed=seed,
                    images=branch.transcript.images,
                )
        except InfraError as error:
            self.cause, self.error = error.cause, str(error)
            if not branch.turns:
                self.branches.remove(branch)
            raise
        self.cause = self.error = ""
        self.outcome.setdefault("seconds_generating", 0.0)
        self.outcome["seconds_generating"] += time.perf_counter() - started
        return said

    async def close(self) -> None:
        """Give the engine's caches back."""
        for number in range(len(self.branches)):
            await self.voice.engine.end_session(f"{self.id}/{number}" if number else self.id)


def as_sent(turn: Turn) -> Message:
    """A turn as the program is sent it: text, and the calls that can be executed."""
    calls = [c for c in turn.calls if c.error is None]
    if not calls or len(calls) < len(turn.calls):
        # A message with a call that cannot be read is text: nothing of it is executed, and the
        # program's own complaint is the observation.
        return Message("assistant", turn.text)
    return Message("assistant", before_calls(turn.text, calls), calls=calls)


_OPENERS = (
    *("<tool_call>", "[TOOL_CALLS]", "<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>", "```json"),
    *("<|python_tag|>", "<|python_start|>", "["),
)


def before_calls(text: str, calls: Sequence[ToolCall]) -> str:
    """What the policy said in front of its calls; for the program's eyes, not for the record."""
    at = text.find(calls[0].raw) if calls[0].raw else -1
    said = text[:at].rstrip() if at >= 0 else ""
    stripped = True
    while stripped:
        stripped = False
        for opener in _OPENERS:
            if said.endswith(opener):
                said, stripped = said.removesuffix(opener).rstrip(), True
    return said


def _key(message: Message) -> tuple[Any, ...]:
    """What makes two messages the same: programs reformat what they send back."""
    calls = tuple(
        (c.name, json.dumps(c.arguments, sort_keys=True, default=str)) for c in message.calls
    )
    content = message.content.strip() if message.role == "assistant" else message.content
    images = tuple(image.digest for image in message.images)
    return message.role, content, calls, message.call_id, images
