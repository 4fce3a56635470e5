"""Continuous batching: requests join and leave between steps; a step is one packed forward."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch

from agentrl.core import Generation, InfraError, Sampling
from agentrl.core.engine import FinishReason
from agentrl.engines.cache import BLOCK, CacheStore, KVCache, Match, Shape
from agentrl.engines.packing import ROWS, KVPacking, Span
from agentrl.engines.sampling import draw, uniform
from agentrl.engines.sight import Eyes, View
from agentrl.models.language import hidden_states
from agentrl.models.policy import Policy
from agentrl.models.vision import join_positions


@dataclass(slots=True, eq=False)
class Sequence:
    """One request on its way.

    Attributes:
        tokens: the prompt, then what was sampled.
        view: of the prompt's images.
        keys: the tokens, but what names the content where an image stands.
        prompt: length of the prompt.
        deliver: called once, from the thread that steps, with the outcome.
        cache: while running.
        awaits: a sibling's cache and how many rows of it are worth waiting for.
    """

    tokens: list[int]
    sampling: Sampling
    session: str
    seed: int
    deliver: Callable[[Generation | InfraError], None]
    view: View | None = None
    keys: list[int] = field(init=False)
    prompt: int = 0
    limit: int = 0
    cancelled: bool = False
    cache: KVCache | None = None
    awaits: tuple[KVCache, int] | None = None
    logprobs: list[float] = field(default_factory=list)
    weights: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.keys = self.tokens if self.view is None else self.view.keys

    def span(self, cache: KVCache, start: int, end: int) -> Span:
        tokens, keys = self.tokens[start:end], self.keys[start:end]
        return Span(cache, start, end, tokens, keys, self.view)

    def say(self, token: int, logprob: float, version: int) -> None:
        self.tokens.append(token)
        if self.keys is not self.tokens:
            self.keys.append(token)
        self.logprobs.append(logprob)
        self.weights.append(version)

    def generation(self, reason: FinishReason) -> Generation:
        return Generation(
            np.asarray(self.tokens[self.prompt :], np.int32),
            np.asarray(self.logprobs, np.float32),
            np.asarray(self.weights, np.int32),
            reason,
        )


@dataclass(slots=True)
class Counters:
    """What the engine has done since it started.

    Attributes:
        steps: forward passes.
        computed: tokens that went through the model.
        shared: tokens whose rows were copied from another conversation instead.
        sampled: tokens drawn.
        preempted: times that a running sequence had to give its cache away.
    """

    steps: int = 0
    computed: int = 0
    shared: int = 0
    sampled: int = 0
    preempted: int = 0


class Batcher:
    """The engine's state; not thread-safe, one thread calls everything.

    Args:
        slots: sequences that run at once.
        step_tokens: new tokens in one forward pass, at most about.
        cache_tokens: capacity of all KV caches together.
    """

    def __init__(self, policy: Policy, slots: int, step_tokens: int, cache_tokens: int) -> None:
        config = policy.model.config.get_text_config()
        heads = config.num_attention_heads
        shape = Shape(
            layers=config.num_hidden_layers,
            kv_heads=getattr(config, "num_key_value_heads", None) or heads,
            head_dim=getattr(config, "head_dim", None) or config.hidden_size // heads,
            dtype=policy.model.dtype,
            device=policy.device,
        )
        self.policy, self.slots, self.step_tokens = policy, slots, step_tokens
        self.store = CacheStore(shape, cache_tokens)
        self.eyes = Eyes(policy)
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        self.version = 0
        self.counters = Counters()

    @property
    def busy(self) -> bool:
        return bool(self.waiting or self.running)

    def add(self, sequence: Sequence) -> None:
        room = self.policy.max_positions - len(sequence.tokens)
        sequence.prompt = len(sequence.tokens)
        sequence.limit = min(sequence.sampling.max_tokens, room)
        if sequence.limit <= 0:
            sequence.deliver(sequence.generation("length"))
        else:
            self.waiting.append(sequence)

    def set_version(self, version: int) -> None:
        """The weights changed: every cache is stale; running sequences start over from their
        tokens so far."""
        for sequence in reversed(list(self.running)):
            self._preempt(sequence)
        self.store.clear()
        self.eyes.forget()
        self.version = version

    def fail(self, error: InfraError) -> None:
        """Give up everything that waits or runs."""
        sequences = [*self.running, *self.waiting]
        self.running.clear()
        self.waiting.clear()
        for sequence in sequences:
            if sequence.cache is not None:
                sequence.cache.busy = False
        self.store.clear()
        for sequence in sequences:
            sequence.deliver(error)

    @torch.no_grad()
    def step(self) -> None:
        """Admit what fits, compute one packed forward, sample, deliver what is done."""
        self._drop_cancelled()
        self._admit()
        self._fit()
        spans, finals = self._plan()
        if not spans:
            return
        hidden = self._forward(spans)
        self.counters.steps += 1
        self.counters.computed += sum(len(s) for s in spans)
        if finals:
            self._sample(hidden[: -(-len(finals) // ROWS) * ROWS], finals)

    def _drop_cancelled(self) -> None:
        for sequence in [s for s in self.running if s.cancelled]:
            self._finish(sequence, sequence.generation("aborted"))
        if any(s.cancelled for s in self.waiting):
            self.waiting = deque(s for s in self.waiting if not s.cancelled)

    def _admit(self) -> None:
        """Oldest first. Those whose prompt a running sibling is computing wait for its rows."""
        later: list[Sequence] = []
        while self.waiting and len(self.running) < self.slots:
            sequence = self.waiting.popleft()
            if sequence.awaits is not None and _coming(*sequence.awaits):
                later.append(sequence)
                continue
            found = self.store.match(sequence.session, sequence.keys)
            if found.leader is not None and found.coming - found.ready >= BLOCK:
                sequence.awaits = found.leader, found.coming
                later.append(sequence)
            elif self._has_room(sequence, found):
                self._start(sequence, found)
            else:
                later.append(sequence)
                break
        self.waiting.extendleft(reversed(later))

    def _has_room(self, sequence: Sequence, found: Match) -> bool:
        need = (found.own or KVCache("")).growth(len(sequence.tokens))
        keep = (found.own, found.source)
        return self.store.make_room(need, keep) or not self.running

    def _start(self, sequence: Sequence, found: Match) -> None:
        sequence.cache = self.store.claim(sequence.session, sequence.keys, found)
        sequence.awaits = None
        self.counters.shared += found.ready if found.source else 0
        self.running.append(sequence)

    def _fit(self) -> None:
        """Make room for the rows that this step may add, in the worst case by taking the
        youngest sequences out again."""
        while True:
            need = sum(s.cache.growth(len(s.tokens)) for s in self.running if s.cache)
            if need == 0 or self.store.make_room(need) or len(self.running) <= 1:
                return
            self._preempt(self.running[-1])

    def _preempt(self, sequence: Sequence) -> None:
        """Back to the front of the queue; what it sampled stays, its rows are computed again."""
        self.running.remove(sequence)
        if sequence.cache is not None:
            self.store.drop(sequence.cache)
        sequence.cache = sequence.awaits = None
        self.waiting.appendleft(sequence)
        self.counters.preempted += 1

    def _plan(self) -> tuple[list[Span], list[Sequence]]:
        """The step's spans, and the sequences whose last tokens are the first of them.

        A sequence's last token is always a span of its own, and blocks end at fixed places:
        every row is computed in a shape that depends on its own conversation only.
        """
        finals: list[Sequence] = []
        lasts: list[Span] = []
        blocks: list[Span] = []
        room = self.step_tokens - len(self.running)
        for sequence in self.running:
            cache = sequence.cache
            assert cache is not None
            start, last = len(cache.tokens), len(sequence.tokens) - 1
            cache.reserve(last + 1, self.store.shape)
            while start < last and (room > 0 or not (blocks or lasts)):
                end = min(last, start - start % BLOCK + BLOCK)
                blocks.append(sequence.span(cache, start, end))
                room -= end - start
                start = end
            if start == last:
                lasts.append(sequence.span(cache, last, last + 1))
                finals.append(sequence)
        blocks.sort(key=lambda s: len(s) != 1)
        return [*lasts, *blocks], finals

    def _forward(self, spans: list[Span]) -> torch.Tensor:
        """Hidden states [rows, hidden]; the rows of the new tokens are in the caches after."""
        used = sum(len(s) for s in spans)
        rows = -(-used // ROWS) * ROWS
        ids = np.zeros(rows, np.int64)
        ids[:used] = [t for s in spans for t in s.tokens]
        device = self.policy.device
        placed = torch.from_numpy(ids).to(device)
        hidden = hidden_states(
            self.policy.model,
            placed,
            torch.from_numpy(_positions(spans, rows)).to(device),
            KVPacking(spans, rows, device),
            self.eyes.embed(placed, [(s.start, s.end, s.view) for s in spans]),
        )
        # Blocks of one conversation stand in order, its last token in front of all.
        for span in sorted(spans, key=lambda s: s.start):
            span.cache.tokens.extend(span.keys)
        return hidden

    def _sample(self, hidden: torch.Tensor, finals: list[Sequence]) -> None:
        logits = self.policy.logits(hidden)[: len(finals)]
        temperatures = [s.sampling.temperature for s in finals]
        uniforms = [uniform(s.seed, len(s.tokens) - s.prompt) for s in finals]
        tokens, logprobs = draw(logits, temperatures, uniforms)
        self.counters.sampled += len(tokens)
        for sequence, token, logprob in zip(finals, tokens, logprobs, strict=True):
            if not math.isfinite(logprob):
                self._finish(sequence, self.bad_logits())
                continue
            sequence.say(token, logprob, self.version)
            if token in sequence.sampling.stop:
                self._finish(sequence, sequence.generation("stop"))
            elif len(sequence.logprobs) >= sequence.limit:
                self._finish(sequence, sequence.generation("length"))

    def _finish(self, sequence: Sequence, outcome: Generation | InfraError) -> None:
        self.running.remove(sequence)
        if sequence.cache is not None:
            self.store.release(sequence.cache)
        sequence.deliver(outcome)

    def bad_logits(self) -> InfraError:
        """What is said of weights that give NaN."""
        return InfraError(
            "bad_logits",
            f"weights version {self.version} gives NaN or infinite logits",
            where="transformers engine",
            fix="the last update broke the weights: resume from the checkpoint before it with a "
            "lower learning rate or a tighter gradient clip",
        )


def _positions(spans: list[Span], rows: int) -> np.ndarray:
    """int64[rows], or [axes, rows] when one of the spans has several."""
    parts = [
        np.arange(s.start, s.end) if s.view is None else s.view.positions(s.start, s.end)
        for s in spans
    ]
    filling = np.zeros(rows - sum(map(len, spans)), np.int64)
    return join_positions([*parts, filling])


def _coming(leader: KVCache, rows: int) -> bool:
    """Whether a running conversation is about to have the first `rows` rows of its prompt."""
    return leader.busy and len(leader.tokens) < rows <= len(leader.prompt)
