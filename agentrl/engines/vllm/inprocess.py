"""vLLM in this process: one thread steps it, requests join and leave between steps."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections import deque
from collections.abc import Callable, Collection, Mapping
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from agentrl.core import (
    AgentRLError,
    ConfigError,
    Generation,
    InfraError,
    PlacedImage,
    Sampling,
    TokenScores,
)
from agentrl.engines.tokens import checked_tokens
from agentrl.engines.vllm.checks import Probe, as_tensors, checkpoint_shapes
from agentrl.engines.vllm.images import prompt_of
from agentrl.engines.vllm.llm import read_generation, start
from agentrl.engines.vllm.reading import (
    check_span,
    encoded,
    nothing,
    read_scores,
    refuse_more_than_logprobs,
)
from agentrl.engines.vllm.settings import VLLMSettings, sampling_fields

if TYPE_CHECKING:
    from agentrl.models import ChatTokenizer

_WHERE = "vllm engine"


@dataclass(slots=True)
class _Adapter:
    """A LoRA adapter under a number of its own: cached blocks are kept apart by it."""

    request: Any
    version: int
    users: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _Waiting:
    """Who waits for a request, and how its output is read."""

    future: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop
    read: Callable[[Any], Any] = lambda output: output
    adapter: _Adapter | None = None


class VLLMEngine:
    """An `Engine` over vLLM's LLMEngine, without a process of its own for it.

    The model is loaded on the engine's thread; the first request waits for it. Seeded generations
    repeat on the same machine when they are batched alike; vLLM does not promise more.

    Args:
        probe: compared after every update; None: nothing is compared.
        tokenizer: for `encode` and for images; vLLM itself is never given text.
    """

    def __init__(
        self,
        settings: VLLMSettings,
        *,
        seed: int = 0,
        probe: Probe | None = None,
        tokenizer: ChatTokenizer | None = None,
    ) -> None:
        self.settings = settings
        self._seed, self._probe, self._tokenizer = seed, probe, tokenizer
        self._shapes = checkpoint_shapes(settings.model)
        self._numbers = itertools.count(1)
        self._sessions: set[str] = set()
        self._version = 0
        self._llm: Any = None
        self._adapter: _Adapter | None = None
        self._waiting: dict[str, _Waiting] = {}
        # Guards the work and the flags; vLLM and `_waiting` belong to the thread.
        self._wake = threading.Condition()
        self._work: deque[tuple[Callable[[], Any], asyncio.Future[Any] | None, Any]] = deque()
        self._closed = False
        self._lost: InfraError | None = None
        self._thread = threading.Thread(target=self._main, name="agentrl-vllm", daemon=True)
        self._thread.start()

    @property
    def version(self) -> int:
        """Version of the weights that sample now."""
        return self._version

    @property
    def sessions(self) -> Collection[str]:
        """Conversations that have begun and not ended; vLLM keeps their blocks while it can."""
        return frozenset(self._sessions)

    async def ready(self) -> None:
        """Wait until the model is loaded. Raises InfraError when that failed."""
        await self._do(lambda: None)

    async def generate(
        self,
        tokens: SequenceOf[int] | np.ndarray,
        sampling: Sampling,
        *,
        session: str = "",
        seed: int = 0,
        images: SequenceOf[PlacedImage] = (),
    ) -> Generation:
        """Continue `tokens`; see `Engine`. Log-probabilities are at temperature 1.

        Raises:
            InfraError: `engine_lost`, `bad_logits`.
            ConfigError: no tokens, or ids that the model does not have.
        """
        if session:
            self._sessions.add(session)

        def begin(waiting: _Waiting) -> str | Generation:
            ids = checked_tokens(tokens, self._vocabulary)
            room = min(sampling.max_tokens, self._longest - len(ids))
            if room <= 0:
                return nothing()
            fields = sampling_fields(sampling.temperature, room, sampling.stop, self._seed + seed)
            adapter = waiting.adapter = self._adapter
            drawn_by = adapter.version if adapter else None
            waiting.read = lambda output: read_generation(output, drawn_by, _WHERE)
            return self._add(prompt_of(ids, images, self._tokenizer), fields, waiting)

        return await self._request(begin)

    async def score(
        self,
        tokens: SequenceOf[int] | np.ndarray,
        start: int = 1,
        *,
        entropy: bool = False,
        hidden: bool = False,
        images: SequenceOf[PlacedImage] = (),
    ) -> TokenScores:
        """Log-probabilities of tokens[start:]. Entropies and hidden states vLLM does not give.

        Raises:
            ConfigError: also for a sequence that fills the model's last position.
        """
        refuse_more_than_logprobs(entropy, hidden, self.settings.lora_rank)

        def begin(waiting: _Waiting) -> str:
            ids = checked_tokens(tokens, self._vocabulary)
            check_span(start, len(ids), self._longest)
            fields = sampling_fields(0.0, 1, (), 0) | {"prompt_logprobs": 0}
            waiting.adapter = self._adapter
            waiting.read = lambda output: read_scores(output.prompt_logprobs, ids, start)
            return self._add(prompt_of(ids, images, self._tokenizer), fields, waiting)

        return await self._request(begin)

    def encode(self, text: str) -> list[int]:
        """Token ids of plain text."""
        return encoded(self._tokenizer, text)

    async def load_weights(
        self, version: int, weights: Mapping[str, Any] | Path | None = None
    ) -> None:
        """Draw from these weights from the next step on; see `Engine.load_weights`.

        Args:
            weights: tensors, a model directory, or the directory of a LoRA adapter: then requests
                that run keep the adapter they began with.

        Raises:
            InfraError: `weights_differ`: the probe says that learner and engine disagree.
        """
        if weights is None:
            raise ConfigError("vLLM has weights of its own: give it tensors", where=_WHERE)
        if isinstance(weights, Path) and (weights / "adapter_config.json").is_file():
            await self._do(lambda: self._take_adapter(version, weights))
        else:
            tensors = as_tensors(weights, self._shapes)
            await self._do(lambda: self._take_weights(version, tensors))
        if self._probe is not None and not self.settings.lora_rank:
            probe = self._probe.tokens()
            self._probe.check(probe, await self.score(probe), _WHERE, version)

    async def end_session(self, session: str) -> None:
        self._sessions.discard(session)

    async def close(self) -> None:
        """End the thread; whoever still waits gets `InfraError("engine_lost")`."""
        with self._wake:
            self._closed = True
            self._wake.notify_all()
        await asyncio.to_thread(self._thread.join)

    async def _request(self, begin: Callable[[_Waiting], Any]) -> Any:
        """Put a request in and wait for its last output; a cancelled one is taken out again."""
        loop = asyncio.get_running_loop()
        waiting = _Waiting(loop.create_future(), loop)
        begun = await self._do(lambda: begin(waiting))
        if not isinstance(begun, str):
            return begun
        try:
            return await waiting.future
        except asyncio.CancelledError:
            self._later(lambda: self._drop(begun))
            raise

    async def _do(self, work: Callable[[], Any]) -> Any:
        """Run `work` on the engine's thread between two steps."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        with self._wake:
            if self._lost is not None or self._closed:
                raise self._gone()
            self._work.append((work, future, loop))
            self._wake.notify_all()
        return await future

    def _later(self, work: Callable[[], Any]) -> None:
        with self._wake:
            self._work.append((work, None, None))
            self._wake.notify_all()

    # What follows runs on the engine's thread.

    def _main(self) -> None:
        try:
            self._llm = start(self.settings)
            config = self._llm.vllm_config.model_config
            self._longest = int(config.max_model_len)
            self._vocabulary = int(config.get_vocab_size())
            while self._next():
                self._step()
        except BaseException as error:  # noqa: BLE001 (told to everyone who waits)
            self._lost = _lost(f"{type(error).__name__}: {error}")
        finally:
            self._end()

    def _next(self) -> bool:
        """Do what waits to be done; False when closed, else there is something to step."""
        while True:
            with self._wake:
                while not (self._closed or self._work or self._waiting):
                    self._wake.wait()
                if self._closed:
                    return False
                work = list(self._work)
                self._work.clear()
            for one in work:
                self._run(*one)
            if self._waiting:
                return True

    def _run(self, work: Callable[[], Any], future: asyncio.Future[Any] | None, loop: Any) -> None:
        try:
            outcome, failed = work(), False
        except Exception as error:  # noqa: BLE001 (told to who asked)
            outcome, failed = _readable(error), True
        if future is not None:
            _tell(loop, future, outcome, failed)

    def _step(self) -> None:
        for output in self._llm.step():
            if not output.finished:
                continue
            waiting = self._forget(output.request_id)
            if waiting is None:
                continue
            try:
                outcome, failed = waiting.read(output), False
            except InfraError as error:
                outcome, failed = error, True
            _tell(waiting.loop, waiting.future, outcome, failed)

    def _add(self, prompt: dict[str, Any], fields: dict[str, Any], waiting: _Waiting) -> str:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        name = str(next(self._numbers))
        params = SamplingParams(**fields, output_kind=RequestOutputKind.FINAL_ONLY)
        adapter = waiting.adapter
        self._llm.add_request(
            name,
            prompt,
            params,
            lora_request=adapter.request if adapter else None,
        )
        self._waiting[name] = waiting
        if adapter:
            adapter.users.add(name)
        return name

    def _forget(self, name: str) -> _Waiting | None:
        waiting = self._waiting.pop(name, None)
        if waiting is not None and waiting.adapter is not None:
            waiting.adapter.users.discard(name)
            self._retire(waiting.adapter)
        return waiting

    def _drop(self, name: str) -> None:
        if self._forget(name) is not None:
            self._llm.abort_request([name])

    def _retire(self, adapter: _Adapter) -> None:
        """Take out an adapter that no request uses any more."""
        if adapter is not self._adapter and not adapter.users:
            self._llm.remove_lora(adapter.request.lora_int_id)

    def _take_weights(self, version: int, tensors: Mapping[str, Any]) -> None:
        from agentrl.engines.vllm.worker import load_into

        self._llm.collective_rpc(load_into, args=(tensors,))
        self._forget_blocks()
        self._llm.set_weight_version(str(version))
        self._version, self._adapter = version, None

    def _forget_blocks(self) -> None:
        """No block and no feature of an image that the old weights computed is used again, not even
        by who runs now."""
        if not self._llm.reset_prefix_cache(reset_running_requests=True):
            raise _lost("vLLM did not reset its prefix cache")
        self._llm.reset_encoder_cache()

    def _take_adapter(self, version: int, path: Path) -> None:
        from vllm.lora.request import LoRARequest

        old = self._adapter
        number = next(self._numbers)
        request = LoRARequest(f"agentrl-{number}", number, str(path))
        if not self._llm.add_lora(request):
            raise ConfigError(f"vLLM refuses the adapter in {path}", where=_WHERE)
        self._adapter, self._version = _Adapter(request, version), version
        if old is not None:
            self._retire(old)

    def _end(self) -> None:
        with self._wake:
            self._closed = True
            work = list(self._work)
            self._work.clear()
        for _, future, loop in work:
            if future is not None:
                _tell(loop, future, self._gone(), True)
        for waiting in self._waiting.values():
            _tell(waiting.loop, waiting.future, self._gone(), True)
        self._waiting.clear()
        if self._llm is not None:
            self._llm.engine_core.shutdown()
            self._llm = None

    def _gone(self) -> InfraError:
        return self._lost or _lost("the engine is closed")


def _tell(
    loop: asyncio.AbstractEventLoop, future: asyncio.Future[Any], outcome: Any, failed: bool
) -> None:
    """Resolve a future of another thread's loop."""

    def resolve() -> None:
        if future.done():
            return
        if failed:
            future.set_exception(outcome)
        else:
            future.set_result(outcome)

    if not loop.is_closed():
        loop.call_soon_threadsafe(resolve)


def _readable(error: Exception) -> Exception:
    """What broke inside vLLM, as an error of ours."""
    return error if isinstance(error, AgentRLError) else _lost(f"{type(error).__name__}: {error}")


def _lost(what: str) -> InfraError:
    return InfraError("engine_lost", what, where=_WHERE)
