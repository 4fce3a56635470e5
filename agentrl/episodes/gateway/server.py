"""The gateway's HTTP side.

    POST /s/SESSION/v1/chat/completions     OpenAI; base URL http://HOST:PORT/s/SESSION/v1
    POST /s/SESSION/v1/messages             Anthropic; base URL http://HOST:PORT/s/SESSION
    GET  /s/SESSION/v1/models
    POST /sessions                          {"task": {..}, "id": .., "seed": ..} -> its URLs
    GET  /sessions/SESSION                  what is recorded so far
    POST /sessions/SESSION/finish           {"outcome": {..}, "reward": 1.0} -> the whole record

A session that nobody opened is opened by its first request. What infrastructure broke is status
503 with its cause; a limit that is reached is status 400 with its name, which clients do not try
again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from agentrl.core import (
    AgentRLError,
    ConfigError,
    Episode,
    InfraError,
    ModelError,
    Score,
    Status,
    Task,
    derive_seed,
)
from agentrl.episodes.gateway import anthropic, openai
from agentrl.episodes.gateway.session import Refused, Session, Voice, as_sent
from agentrl.episodes.gateway.wire import Answer, BadRequest

if TYPE_CHECKING:
    from aiohttp import web

MODEL = "policy"
_ID = re.compile(r"[\w.:@-]{1,200}")
_UNUSABLE = re.compile(r"[^\w.:@-]")
_BODY_BYTES = 64 << 20

Judge = Callable[[Episode], Awaitable[None]]


class Gateway:
    """Serves a policy to agent programs, and keeps what they do with it.

        async with Gateway(voice) as gateway:
            session = gateway.open(task, seed=7)
            base_url = f"{gateway.url}/s/{session.id}/v1"

    Attributes:
        judge: gives an episode its scores when its session is finished over HTTP and the program
            reports no reward of its own.
        on_episode: told of every finished episode.
        max_sessions: sessions that may be open at once.
    """

    def __init__(
        self,
        voice: Voice,
        *,
        judge: Judge | None = None,
        on_episode: Callable[[Episode], None] | None = None,
        max_sessions: int = 4096,
        seed: int = 0,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        """`port` 0 takes a free one."""
        self._host, self._port = host, port
        self._voice, self._judge, self._on_episode = voice, judge, on_episode
        self._max_sessions, self._seed = max_sessions, seed
        self._sessions: dict[str, Session] = {}
        self._opened = 0
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def __aenter__(self) -> Gateway:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def start(self) -> None:
        """Listen. Raises ConfigError when it cannot."""
        from aiohttp import web

        host, port = self._host, self._port

        self._runner = web.AppRunner(self._application(), access_log=None)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError as error:
            await self._runner.cleanup()
            raise ConfigError(
                f"cannot listen on {host}:{port}: {error}", fix="choose another --host or --port"
            ) from error
        address = self._runner.addresses[0]
        shown = f"[{address[0]}]" if ":" in address[0] else address[0]
        self.url = f"http://{shown}:{address[1]}"

    async def close(self) -> None:
        """Stop listening; open sessions are dropped."""
        if self._runner is not None:
            await self._runner.cleanup()
        for session in list(self._sessions.values()):
            await session.close()
        self._sessions.clear()

    def open(self, task: Task, *, id: str = "", seed: int | None = None) -> Session:
        """A new session. Raises ConfigError when the id is taken or there are too many."""
        id = id or f"{task.id or 'session'}-{self._opened}"
        if not _ID.fullmatch(id):
            raise ConfigError(f"{id!r} cannot name a session", fix="use letters, digits, . : @ _ -")
        if id in self._sessions:
            raise ConfigError(f"session {id!r} is open already")
        if len(self._sessions) >= self._max_sessions:
            raise ConfigError(
                f"{self._max_sessions} sessions are open", fix="finish some, or raise max_sessions"
            )
        self._opened += 1
        seed = derive_seed(self._seed, "session", id) if seed is None else seed
        session = Session(self._voice, task, id, seed)
        self._sessions[id] = session
        return session

    def free_id(self, name: str) -> str:
        """`name`, or what is nearest to it that can name a session and is not taken."""
        id = name = _UNUSABLE.sub("_", name)[-190:]
        tries = 1
        while id in self._sessions:
            tries += 1
            id = f"{name}.{tries}"
        return id

    async def finish(self, session: Session, outcome: dict[str, Any] | None = None) -> Episode:
        """End a session; what was recorded of it, not judged yet."""
        self._sessions.pop(session.id, None)
        if session.status == Status.RUNNING:
            session.status = Status.COMPLETED
        session.outcome.update(outcome or {})
        await session.close()
        return session.episode()

    def _application(self) -> web.Application:
        from aiohttp import web

        app = web.Application(client_max_size=_BODY_BYTES)
        app.router.add_post("/s/{session}/v1/chat/completions", self._chat)
        app.router.add_post("/s/{session}/v1/messages", self._messages)
        app.router.add_get("/s/{session}/v1/models", self._models)
        app.router.add_post("/sessions", self._post_session)
        app.router.add_get("/sessions/{session}", self._get_session)
        app.router.add_post("/sessions/{session}/finish", self._post_finish)
        return app

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, openai)

    async def _messages(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, anthropic)

    async def _answer(self, request: web.Request, wire: Any) -> web.StreamResponse:
        from aiohttp import web

        try:
            asked = wire.read(await _body(request))
            session = self._session(request.match_info["session"])
            turn = await session.answer(asked.messages, asked.tools, asked.max_tokens)
        except Exception as error:  # noqa: BLE001  (the boundary to the program)
            status, code, what = _failure(error)
            return web.json_response(wire.error(status, code, what), status=status)
        used = session.context_tokens - len(turn.tokens)
        answer = Answer(turn, as_sent(turn), used, asked.model or MODEL)
        if not asked.stream:
            return web.json_response(wire.write(answer))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for event in wire.stream(answer, usage=asked.usage):
            await response.write(event.encode())
        await response.write_eof()
        return response

    async def _models(self, request: web.Request) -> web.Response:
        from aiohttp import web

        listed = [{"id": MODEL, "object": "model", "created": 0, "owned_by": "agentrl"}]
        return web.json_response({"object": "list", "data": listed})

    async def _post_session(self, request: web.Request) -> web.Response:
        async def act() -> dict[str, Any]:
            body = await _body(request)
            task = _task(body.get("task") or {})
            session = self.open(task, id=str(body.get("id") or ""), seed=body.get("seed"))
            at = f"{self.url}/s/{session.id}"
            return {"id": session.id, "openai_base_url": f"{at}/v1", "anthropic_base_url": at}

        return await _reply(act)

    async def _get_session(self, request: web.Request) -> web.Response:
        async def act() -> dict[str, Any]:
            return record(self._known(request.match_info["session"]).episode())

        return await _reply(act)

    async def _post_finish(self, request: web.Request) -> web.Response:
        async def act() -> dict[str, Any]:
            body = await _body(request)
            outcome, reward = body.get("outcome") or {}, body.get("reward")
            if not isinstance(outcome, dict) or not isinstance(reward, int | float | None):
                raise BadRequest("outcome must be an object, and reward a number")
            session = self._known(request.match_info["session"])
            episode = await self.finish(session, outcome)
            if episode.status != Status.INFRA_ERROR and reward is not None:
                episode.scores["reward"] = Score(float(reward))
            elif episode.status != Status.INFRA_ERROR and self._judge is not None:
                await self._judge(episode)
            if self._on_episode is not None:
                self._on_episode(episode)
            return record(episode)

        return await _reply(act)

    def _session(self, id: str) -> Session:
        found = self._sessions.get(id)
        return found if found is not None else self.open(Task(id, ""), id=id)

    def _known(self, id: str) -> Session:
        if id not in self._sessions:
            raise BadRequest(f"no session {id!r} is open")
        return self._sessions[id]


def record(episode: Episode) -> dict[str, Any]:
    """An episode's token-exact record as JSON."""
    return {
        "id": episode.id,
        "task": episode.task.id,
        "status": str(episode.status),
        "cause": episode.cause,
        "turns": len(episode.turns),
        "outcome": episode.outcome,
        "reward": episode.reward if episode.judged else None,
        "segments": [
            {
                name: getattr(s, name).tolist()
                for name in ("tokens", "origin", "logprobs", "turn", "weights")
            }
            for s in episode.segments
        ],
    }


async def _body(request: web.Request) -> dict[str, Any]:
    try:
        body = json.loads(await request.text() or "{}")
    except ValueError as error:
        raise BadRequest(f"the body is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise BadRequest("the body is not a JSON object")
    return body


def _task(given: Any) -> Task:
    if not isinstance(given, dict):
        raise BadRequest("task must be an object")
    return Task(
        str(given.get("id") or ""),
        str(given.get("prompt") or ""),
        payload=dict(given.get("payload") or {}),
        metadata=dict(given.get("metadata") or {}),
    )


def _failure(error: Exception) -> tuple[int, str, str]:
    """(status, code, message) for what went wrong."""
    if isinstance(error, BadRequest):
        return 400, "bad_request", str(error)
    if isinstance(error, Refused):
        return 400, error.code, str(error)
    if isinstance(error, ModelError):
        return 400, "template", str(error)
    if isinstance(error, InfraError):
        return 503, error.cause, str(error)
    if isinstance(error, AgentRLError):
        return 400, "refused", str(error)
    return 500, "gateway_failed", f"{type(error).__name__}: {error}"


async def _reply(act: Callable[[], Awaitable[dict[str, Any]]]) -> web.Response:
    from aiohttp import web

    try:
        return web.json_response(await act())
    except Exception as error:  # noqa: BLE001  (the boundary to the program)
        status, code, what = _failure(error)
        return web.json_response(openai.error(status, code, what), status=status)
