"""Replies written in Python: for tests, and for experts whose episodes are imitated."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Mapping
from collections.abc import Sequence as SequenceOf
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from agentrl.core import (
    ConfigError,
    Generation,
    InfraError,
    PlacedImage,
    Sampling,
    TokenScores,
)

if TYPE_CHECKING:
    from agentrl.models import ChatTokenizer

Script = Callable[[int], Generator[str, str, None]]
"""`script(seed)`: first `heard = yield ""` receives the prompt, then every yield is a message."""


class _Session:
    __slots__ = ("script", "seen")

    def __init__(self, script: Generator[str, str, None]) -> None:
        self.script, self.seen = script, 0


class ScriptedEngine:
    """An engine whose policy is a Python generator.

        def script(seed: int) -> Generator[str, str, None]:
            text = yield ""                  # the first value is thrown away; text is the prompt
            while "error" in text:
                text = yield "try again"     # this turn's message; then text is what it met
            yield "done"                     # returning afterwards gives empty messages

    Each session has a generator of its own, made from the seed of its first turn. Messages are
    encoded as plain text and closed by the end-of-turn token. Log-probabilities are 0 and the
    weights version is -1: nothing may be learned from them by policy gradient.
    """

    def __init__(self, script: Script, tokenizer: ChatTokenizer) -> None:
        self._script, self._tokenizer = script, tokenizer
        self._sessions: dict[str, _Session] = {}
        self._closed = False

    @property
    def version(self) -> int:
        return -1

    @property
    def sessions(self) -> Collection[str]:
        return frozenset(self._sessions)

    async def generate(
        self,
        tokens: SequenceOf[int] | np.ndarray,
        sampling: Sampling,
        *,
        session: str = "",
        seed: int = 0,
        images: SequenceOf[PlacedImage] = (),
    ) -> Generation:
        """The script's next message; cut to `sampling.max_tokens` with reason "length".

        Raises:
            InfraError: `script_failed`: the script raised; `engine_lost`: closed.
        """
        if self._closed:
            raise InfraError("engine_lost", "the engine is closed", where="scripted engine")
        state = self._sessions.get(session) if session else None
        if state is None:
            script = self._script(seed)
            _resume(script, None)
            state = _Session(script)
            if session:
                self._sessions[session] = state
        heard = self._tokenizer.decode([int(t) for t in tokens[state.seen :]])
        ids = self._tokenizer.encode_plain(_resume(state.script, heard))
        ids.append(self._tokenizer.end_of_turn)
        cut = len(ids) > sampling.max_tokens
        ids = ids[: sampling.max_tokens]
        state.seen = len(tokens) + len(ids)
        return Generation(
            np.asarray(ids, np.int32),
            np.zeros(len(ids), np.float32),
            np.full(len(ids), -1, np.int32),
            "length" if cut else "stop",
        )

    async def score(
        self,
        tokens: SequenceOf[int] | np.ndarray,
        start: int = 1,
        *,
        entropy: bool = False,
        hidden: bool = False,
        images: SequenceOf[PlacedImage] = (),
    ) -> TokenScores:
        raise ConfigError(
            "a script gives no probabilities",
            where="scripted engine",
            fix="score with an engine that has weights: transformers or vllm",
        )

    async def load_weights(
        self, version: int, weights: Mapping[str, Any] | Path | None = None
    ) -> None:
        """A script has no weights: it stays what it is, version -1."""

    async def end_session(self, session: str) -> None:
        state = self._sessions.pop(session, None)
        if state is not None:
            state.script.close()

    async def close(self) -> None:
        self._closed = True
        for session in list(self._sessions):
            await self.end_session(session)


def _resume(script: Generator[str, str, None], heard: str | None) -> str:
    """The generator's next message; "" once it has returned."""
    try:
        # A generator that has not run yet can only be sent None.
        return script.send(heard)  # type: ignore[arg-type]
    except StopIteration:
        return ""
    except Exception as error:  # a script is the user's code: its fault ends one episode
        raise InfraError(
            "script_failed", f"{type(error).__name__}: {error}", where="scripted engine"
        ) from error
