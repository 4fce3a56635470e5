"""An environment over HTTP: sessions with deadlines, for policies that run elsewhere.

    POST   /sessions              {"task": {..}} or {"task_id": ".."} -> session, messages, tools
    POST   /sessions/ID/step      {"text": "..", "calls": [{"name", "arguments"}]}
                                  -> messages, results, done, rewards
    POST   /sessions/ID/finish    -> outcome and scores; the session is over
    DELETE /sessions/ID           the session is over
    GET    /health                sessions in use, and how many may be

Errors are {"error": {"cause", "message"}}: 400 what was sent is wrong, 404 no such session, 409 the
episode is over, 410 its deadline has passed, 502 the infrastructure failed (cause as in
`InfraError`), 503 too many sessions. A task's reference is never sent.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agentrl.core import AgentRLError, Episode, InfraError, Message, Reward, Task, ToolCall, Turn
from agentrl.environments.base import Environment, maybe_await
from agentrl.rewards import judge

if TYPE_CHECKING:
    from aiohttp import web

_REAP_SECONDS = 1.0
MAX_BODY = 4 << 20


class _Sent(BaseModel):
    model_config = ConfigDict(extra="forbid")


class SentTask(_Sent):
    id: str = Field(min_length=1)
    prompt: str
    payload: dict[str, Any] = {}
    reference: dict[str, Any] = {}
    metadata: dict[str, Any] = {}


class Opening(_Sent):
    task: SentTask | None = None
    task_id: str | None = None


class SentCall(_Sent):
    name: str
    arguments: dict[str, Any] = {}
    id: str = ""
    error: str | None = None


class Step(_Sent):
    text: str = ""
    calls: list[SentCall] = []


class Refused(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, cause: str, message: str) -> None:
        self.status, self.cause, self.message = status, cause, message
        super().__init__(message)


@dataclass(slots=True)
class _Session:
    environment: Environment
    episode: Episode
    ends: float
    seen: float
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    done: bool = False


@dataclass(slots=True)
class EnvironmentServer:
    """Serves episodes of one kind of environment.

    Attributes:
        make: called once per session.
        tasks: that clients may name by id; others they send in full.
        reward: judges at the end; None: only the outcome is told.
        most: sessions at one time.
        deadline: seconds from a session's opening to its end.
        idle: seconds without a request after which a session is ended.
    """

    make: Callable[[], Environment]
    tasks: Sequence[Task] = ()
    reward: Reward | None = None
    most: int = 64
    deadline: float = 900.0
    idle: float = 300.0
    _sessions: dict[str, _Session] = field(default_factory=dict, init=False)
    _late: dict[str, None] = field(default_factory=dict, init=False)
    _opening: int = field(default=0, init=False)

    def app(self) -> web.Application:
        """The aiohttp application."""
        from aiohttp import web

        app = web.Application(client_max_size=MAX_BODY)
        app.router.add_post("/sessions", self._answer(self._open, 201))
        app.router.add_post("/sessions/{id}/step", self._answer(self._step))
        app.router.add_post("/sessions/{id}/finish", self._answer(self._finish))
        app.router.add_delete("/sessions/{id}", self._answer(self._delete))
        app.router.add_get("/health", self._answer(self._health))
        app.cleanup_ctx.append(self._reaping)
        return app

    def _answer(
        self, handler: Callable[[web.Request], Any], status: int = 200
    ) -> Callable[[web.Request], Any]:
        """Errors as JSON, whatever they are."""
        from aiohttp import web

        async def answer(request: web.Request) -> web.Response:
            try:
                return web.json_response(await handler(request), status=status)
            except Refused as refused:
                code, cause, message = refused.status, refused.cause, refused.message
            except ValidationError as error:
                first = error.errors()[0]
                place = ".".join(map(str, first["loc"]))
                code, cause, message = 400, "bad_request", f"{place}: {first['msg']}"
            except (ValueError, UnicodeDecodeError, RecursionError) as error:
                code, cause, message = 400, "bad_request", f"not JSON: {error}"
            except InfraError as error:
                code, cause, message = 502, error.cause, str(error)
            except AgentRLError as error:
                code, cause, message = 400, "bad_task", str(error)
            except web.HTTPException:
                raise
            except Exception as error:  # noqa: BLE001  (boundary: environments that users write)
                text = f"{type(error).__name__}: {error}"
                code, cause, message = 502, "environment_raised", text
            body = {"error": {"cause": cause, "message": message}}
            return web.json_response(body, status=code)

        return answer

    async def _open(self, request: web.Request) -> dict[str, Any]:
        task = self._task(Opening.model_validate(await request.json()))
        if len(self._sessions) + self._opening >= self.most:
            raise Refused(503, "too_many_sessions", f"{self.most} sessions are open: try later")
        self._opening += 1
        environment = self.make()
        try:
            async with self._within(self.deadline):
                said = await maybe_await(environment.reset(task))
        except BaseException:
            await _quietly(environment)
            raise
        finally:
            self._opening -= 1
        messages = [Message("user", said)] if isinstance(said, str) else list(said)
        tools = [tool.spec for tool in environment.tools.values()]
        episode = Episode(task, id=secrets.token_urlsafe(16), prompt=messages, tools=tools)
        now = time.monotonic()
        self._sessions[episode.id] = _Session(environment, episode, now + self.deadline, now)
        return {
            "session": episode.id,
            "messages": [_message(m) for m in messages],
            "tools": tools,
            "seconds": self.deadline,
        }

    def _task(self, opening: Opening) -> Task:
        if opening.task is not None:
            return Task(**opening.task.model_dump())
        known = {task.id: task for task in self.tasks}
        if opening.task_id not in known:
            raise Refused(400, "unknown_task", f"there is no task {opening.task_id!r}: send one")
        return known[opening.task_id]

    async def _step(self, request: web.Request) -> dict[str, Any]:
        sent = Step.model_validate(await request.json())
        async with self._session(request) as session:
            if session.done:
                raise Refused(409, "episode_over", "the episode is over: finish it")
            number = len(session.episode.turns)
            calls = [
                ToolCall(c.name, c.arguments, c.id or f"call_{number}_{i}", error=c.error)
                for i, c in enumerate(sent.calls)
            ]
            none = np.zeros(0, np.float32)
            turn = Turn(none.astype(np.int32), none, sent.text, calls)
            observation = await maybe_await(session.environment.step(turn))
            turn.observations, turn.rewards = list(observation.messages), dict(observation.rewards)
            session.episode.turns.append(turn)
            session.done = observation.done
            return {
                "messages": [_message(m) for m in observation.messages],
                "results": [{"ok": r.ok, "error": r.error} for r in turn.results],
                "done": observation.done,
                "rewards": turn.rewards,
            }

    async def _finish(self, request: web.Request) -> dict[str, Any]:
        async with self._session(request) as session:
            episode = session.episode
            try:
                episode.outcome = dict(await maybe_await(session.environment.finish(episode)) or {})
                if self.reward is not None:
                    await judge(self.reward, episode)
            finally:
                await self._end(request.match_info["id"])
            scores = {name: asdict(score) for name, score in episode.scores.items()}
            return {"outcome": episode.outcome, "scores": scores}

    async def _delete(self, request: web.Request) -> dict[str, Any]:
        key = request.match_info["id"]
        if key not in self._sessions:
            raise Refused(404, "no_session", "there is no such session")
        await self._end(key)
        return {}

    async def _health(self, request: web.Request) -> dict[str, Any]:
        return {"sessions": len(self._sessions), "most": self.most}

    @asynccontextmanager
    async def _session(self, request: web.Request) -> AsyncIterator[_Session]:
        """The session of a request, for one request at a time, within its deadline."""
        key = request.match_info["id"]
        session = self._sessions.get(key)
        if session is None:
            if key in self._late:
                raise Refused(410, "deadline", "the session has passed its deadline")
            raise Refused(404, "no_session", "there is no such session")
        async with session.lock:
            if self._sessions.get(key) is not session:
                raise Refused(410, "deadline", "the session is over")
            session.seen = time.monotonic()
            async with self._within(session.ends - session.seen):
                yield session
            session.seen = time.monotonic()

    @asynccontextmanager
    async def _within(self, seconds: float) -> AsyncIterator[None]:
        limit = asyncio.timeout(max(0.0, seconds))
        try:
            async with limit:
                yield
        except TimeoutError:
            if not limit.expired():
                raise
            raise Refused(410, "deadline", "the session has passed its deadline") from None

    async def _end(self, key: str, late: bool = False) -> None:
        session = self._sessions.pop(key, None)
        if late:
            self._late[key] = None
            while len(self._late) > 10_000:
                del self._late[next(iter(self._late))]
        if session is not None:
            await _quietly(session.environment)

    async def _reaping(self, app: web.Application) -> AsyncIterator[None]:
        reaper = asyncio.create_task(self._reap())
        yield
        reaper.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reaper
        for key in list(self._sessions):
            await self._end(key)

    async def _reap(self) -> None:
        """End what is late or idle, and not busy."""
        while True:
            await asyncio.sleep(min(_REAP_SECONDS, self.idle / 2, self.deadline / 2))
            now = time.monotonic()
            for key, session in list(self._sessions.items()):
                over = now > session.ends or now - session.seen > self.idle
                if over and not session.lock.locked():
                    await self._end(key, late=True)


async def _quietly(environment: Environment) -> None:
    """Close; a failure there changes nothing for anybody."""
    with contextlib.suppress(Exception):
        await maybe_await(environment.close())


def _message(message: Message) -> dict[str, Any]:
    plain: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.role == "tool":
        plain |= {"call_id": message.call_id, "name": message.name}
    if message.images:
        plain["images"] = [
            {"media_type": i.media_type, "data": base64.b64encode(i.data).decode()}
            for i in message.images
        ]
    return plain
