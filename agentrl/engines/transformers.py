"""The embedded default: a transformers model in this process, batched continuously.

Weights are shared in memory with the learner. One worker thread computes; `generate` only waits.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from collections.abc import Sequence as SequenceOf
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agentrl.core import (
    ConfigError,
    Generation,
    InfraError,
    PlacedImage,
    Sampling,
    TokenScores,
)
from agentrl.engines.batching import Batcher, Counters, Sequence
from agentrl.engines.sight import check_images, view_of
from agentrl.engines.tokens import checked_tokens
from agentrl.models.policy import Policy
from agentrl.models.scoring import ScoreRequest, score_tokens
from agentrl.models.weights import copy_weights, named_weights, read_weights, same_tensors


@dataclass(slots=True)
class _Scoring:
    request: ScoreRequest
    deliver: Callable[[TokenScores | InfraError], None]
    cancelled: bool = False

    def __len__(self) -> int:
        return len(self.request)


SCORED_TOKENS = 4096
"""Tokens that are scored between two steps of generation, at most about."""


class TransformersEngine:
    """Continuous batching over KV caches that are kept per conversation and shared by prompt.

    What is guaranteed: with the same weights, machine and number of threads, a seeded generation
    gives the same tokens and bit-identical log-probabilities whatever else runs beside it, in
    whatever order, as long as its session's cache was not evicted in between (`evicted` counts
    that). Across an eviction, machines or thread counts, log-probabilities agree to about 1e-6
    and a token differs only when the noise moves a boundary across its random number.

    Args:
        policy: model and tokenizer; the learner may change its weights inside `paused()`.
        max_slots: sequences that run at once; more wait in order.
        step_tokens: new tokens in one forward pass.
        cache_tokens: capacity of all KV caches together, in tokens.
        seed: added to every request's seed.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        max_slots: int = 64,
        step_tokens: int = 2048,
        cache_tokens: int = 1 << 18,
        seed: int = 0,
    ) -> None:
        for name, value in (
            ("max_slots", max_slots),
            ("step_tokens", step_tokens),
            ("cache_tokens", cache_tokens),
        ):
            if value < 1:
                raise ConfigError(f"{name} is {value}", where="transformers engine", fix="use 1 up")
        self.policy = policy
        self._own = named_weights(policy)
        self._batcher = Batcher(policy, max_slots, step_tokens, cache_tokens)
        self._seed = seed
        # Guards the inbox and the flags; the batcher itself belongs to whoever steps or pauses.
        self._wake = threading.Condition()
        self._inbox: list[Sequence] = []
        self._to_score: deque[_Scoring] = deque()
        self._ended: list[str] = []
        self._pauses = 0
        self._stepping = False
        self._closed = False
        self._lost: InfraError | None = None
        self._thread = threading.Thread(target=self._work, name="agentrl-engine", daemon=True)
        self._thread.start()

    @property
    def version(self) -> int:
        """Version of the weights that sample now."""
        return self._batcher.version

    @property
    def counters(self) -> Counters:
        return self._batcher.counters

    @property
    def evicted(self) -> int:
        """Live conversations that lost their cache for want of room."""
        return self._batcher.store.evicted

    @property
    def running(self) -> int:
        """Sequences that run now."""
        return len(self._batcher.running)

    @property
    def held_tokens(self) -> int:
        """Tokens of KV capacity in use."""
        return self._batcher.store.held

    async def generate(
        self,
        tokens: SequenceOf[int] | np.ndarray,
        sampling: Sampling,
        *,
        session: str = "",
        seed: int = 0,
        images: SequenceOf[PlacedImage] = (),
    ) -> Generation:
        """Continue `tokens` until a stop id, `sampling.max_tokens` or the model's last position.

        A context that already fills the model gives no token and the reason "length".

        Raises:
            InfraError: `engine_lost` (the engine broke or was closed), `bad_logits` (NaN).
            ConfigError: no tokens, ids that the model does not have, or images for a model that
                reads text only.
        """
        ids = self._checked(tokens)
        view = view_of(self.policy, ids, images)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Generation] = loop.create_future()
        deliver = _delivery(loop, future)
        sequence = Sequence(ids, sampling, session, self._seed + seed, deliver, view)
        return await self._ask(self._inbox, sequence, future)

    async def score(
        self,
        tokens: SequenceOf[int] | np.ndarray,
        start: int = 1,
        *,
        entropy: bool = False,
        hidden: bool = False,
        images: SequenceOf[PlacedImage] = (),
    ) -> TokenScores:
        """Scores of tokens[start:] under the current weights, at temperature 1.

        Calls that wait at the same time are packed into one forward pass, which runs between two
        steps of generation. Inside `paused()` it would wait for ever.

        Raises:
            InfraError: `engine_lost`, `bad_logits`.
            ConfigError: no tokens, ids that the model does not have, a start outside of them.
        """
        ids = self._checked(tokens)
        if not 1 <= start <= len(ids):
            raise ConfigError(f"asked to score from token {start} of {len(ids)}")
        check_images(self.policy, ids, images)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[TokenScores] = loop.create_future()
        request = ScoreRequest(ids, start, entropy, hidden, images)
        scoring = _Scoring(request, _delivery(loop, future))
        return await self._ask(self._to_score, scoring, future)

    def encode(self, text: str) -> list[int]:
        """Token ids of plain text."""
        return self.policy.tokenizer.encode_plain(text)

    @property
    def sessions(self) -> Collection[str]:
        """Conversations whose cache is kept."""
        with self._wake:
            return self._batcher.store.sessions.difference(self._ended)

    async def end_session(self, session: str) -> None:
        """Free the conversation's cache (its prompt may stay, for siblings yet to come)."""
        with self._wake:
            self._ended.append(session)
            self._wake.notify_all()

    async def load_weights(
        self, version: int, weights: Mapping[str, Any] | Path | None = None
    ) -> None:
        """Draw from these weights from the next step on; see `Engine.load_weights`.

        Tensors that are the model's own memory are not copied: a sync with a learner in this
        process only forgets the caches.
        """
        tensors = read_weights(weights) if isinstance(weights, Path) else weights
        async with self.paused():
            if tensors is not None and not same_tensors(self._own, tensors):
                copy_weights(self.policy, tensors)
            self._batcher.set_version(version)

    def weights_updated(self, version: int) -> None:
        """`load_weights(version)` for a caller without an event loop: the learner changed the
        weights in place (inside `paused()`)."""
        with self.pausing():
            self._batcher.set_version(version)

    @contextmanager
    def pausing(self) -> Iterator[None]:
        """No step runs inside. Blocks the thread until the current step is over."""
        with self._wake:
            self._pauses += 1
            while self._stepping:
                self._wake.wait()
        try:
            yield
        finally:
            self._resume()

    @asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """No step runs inside. Waits for the current step without blocking the event loop."""
        with self._wake:
            self._pauses += 1
        try:
            while self._stepping:
                await asyncio.sleep(0.001)
            yield
        finally:
            self._resume()

    async def close(self) -> None:
        """End the thread; whoever still waits gets `InfraError("engine_lost")`."""
        with self._wake:
            self._closed = True
            self._wake.notify_all()
        await asyncio.to_thread(self._thread.join)

    def _resume(self) -> None:
        with self._wake:
            self._pauses -= 1
            self._wake.notify_all()

    def _checked(self, tokens: SequenceOf[int] | np.ndarray) -> list[int]:
        return checked_tokens(tokens, self.policy.model.get_input_embeddings().weight.shape[0])

    async def _ask(self, queue: Any, request: Any, future: asyncio.Future[Any]) -> Any:
        """Hand a request to the worker and wait for its answer."""
        with self._wake:
            if self._lost is not None or self._closed:
                raise self._gone()
            queue.append(request)
            self._wake.notify_all()
        try:
            return await future
        except asyncio.CancelledError:
            request.cancelled = True
            with self._wake:
                self._wake.notify_all()
            raise

    def _work(self) -> None:
        """The worker thread. Whatever ends it is told to everyone who waits."""
        try:
            while self._next():
                try:
                    self._batcher.step()
                    self._score_some()
                except Exception as error:  # noqa: BLE001  (told to every request of the batch)
                    self._batcher.fail(_lost(f"a forward pass failed: {_name(error)}"))
                finally:
                    with self._wake:
                        self._stepping = False
                        self._wake.notify_all()
        except BaseException as error:
            self._lost = _lost(f"the worker thread died: {_name(error)}")
            raise
        finally:
            with self._wake:
                self._closed, self._stepping = True, False
                self._take_inbox()
                self._wake.notify_all()
            for scoring in self._to_score:
                scoring.deliver(self._gone())
            self._batcher.fail(self._gone())

    def _score_some(self) -> None:
        """One packed row of what waits to be scored; the rest comes after the next step."""
        row: list[_Scoring] = []
        room = SCORED_TOKENS
        while self._to_score and (not row or len(self._to_score[0]) <= room):
            scoring = self._to_score.popleft()
            if not scoring.cancelled:
                row.append(scoring)
                room -= len(scoring)
        if not row:
            return
        try:
            scores = score_tokens(self.policy, [s.request for s in row], row_tokens=SCORED_TOKENS)
        except Exception as error:  # noqa: BLE001  (told to every request of the row)
            for scoring in row:
                scoring.deliver(_lost(f"a forward pass failed: {_name(error)}"))
            return
        for scoring, score in zip(row, scores, strict=True):
            # Minus infinity is a token that cannot come; NaN is a broken model.
            broken = bool(np.isnan(score.logprobs).any())
            scoring.deliver(self._batcher.bad_logits() if broken else score)

    def _next(self) -> bool:
        """Wait for something to do and claim the right to step; False when closed."""
        with self._wake:
            while not self._closed:
                if self._pauses == 0:
                    self._take_inbox()
                    if self._batcher.busy or self._to_score:
                        self._stepping = True
                        return True
                self._wake.wait()
            return False

    def _take_inbox(self) -> None:
        for sequence in self._inbox:
            self._batcher.add(sequence)
        self._inbox.clear()
        for session in self._ended:
            self._batcher.store.end(session)
        self._ended.clear()

    def _gone(self) -> InfraError:
        return self._lost or _lost("the engine is closed")


def _lost(what: str) -> InfraError:
    return InfraError("engine_lost", what, where="transformers engine")


def _name(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _delivery(
    loop: asyncio.AbstractEventLoop, future: asyncio.Future[Any]
) -> Callable[[Any], None]:
    """A callable for the worker thread that resolves `future` in its own loop."""

    def resolve(outcome: Any) -> None:
        if future.done():
            return
        if isinstance(outcome, InfraError):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)

    def deliver(outcome: Any) -> None:
        # A loop that is closed has nobody left who waits.
        if not loop.is_closed():
            loop.call_soon_threadsafe(resolve, outcome)

    return deliver
