"""KV caches of conversations: kept between turns, shared between prompts, evicted when idle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch

BLOCK = 64
"""Prompts are computed in blocks that end at multiples of this many tokens, so that the rows of
a prompt come out bit-identical whichever conversation computed them."""


@dataclass(slots=True)
class Shape:
    """What one token takes in a cache."""

    layers: int
    kv_heads: int
    head_dim: int
    dtype: torch.dtype
    device: torch.device


@dataclass(slots=True, eq=False)
class KVCache:
    """Keys and values of one conversation.

    Attributes:
        kv: [2 * layers, 1, kv_heads, capacity, head_dim]: keys of layer l at 2l, values at
            2l + 1; None while empty.
        tokens: the tokens whose rows are stored; where an image stands, what names its content.
        prompt: leading tokens whose rows are, or will be, what a fresh prefill of them gives:
            others may copy them.
        session: "" once the conversation is over or when it never had a name.
        busy: a running sequence owns it.
        used: clock of the last use.
    """

    session: str
    kv: torch.Tensor | None = None
    tokens: list[int] = field(default_factory=list)
    prompt: list[int] = field(default_factory=list)
    busy: bool = False
    used: int = 0

    @property
    def capacity(self) -> int:
        return 0 if self.kv is None else self.kv.shape[3]

    def reserve(self, length: int, shape: Shape) -> None:
        """Room for `length` tokens; grows by doubling."""
        if length <= self.capacity:
            return
        rows = max(2 * self.capacity, -(-length // BLOCK) * BLOCK)
        fresh = torch.empty(
            (2 * shape.layers, 1, shape.kv_heads, rows, shape.head_dim),
            dtype=shape.dtype,
            device=shape.device,
        )
        if self.kv is not None and self.tokens:
            kept = len(self.tokens)
            fresh[:, :, :, :kept] = self.kv[:, :, :, :kept]
        self.kv = fresh

    def growth(self, length: int) -> int:
        """Tokens of capacity that `reserve(length)` would add."""
        if length <= self.capacity:
            return 0
        return max(2 * self.capacity, -(-length // BLOCK) * BLOCK) - self.capacity

    def cut(self, length: int) -> None:
        """Forget all rows from `length` on."""
        del self.tokens[length:]
        if length < len(self.prompt):
            del self.prompt[length - length % BLOCK :]

    def clear(self) -> None:
        self.kv, self.tokens, self.prompt = None, [], []

    def copy_from(self, other: KVCache, length: int, shape: Shape) -> None:
        """Take the first `length` rows of another conversation that starts alike."""
        assert other.kv is not None
        self.tokens = []
        self.reserve(length + BLOCK, shape)
        assert self.kv is not None
        self.kv[:, :, :, :length] = other.kv[:, :, :, :length]
        self.tokens = other.tokens[:length]


@dataclass(slots=True)
class Match:
    """Where the rows of a request can come from.

    Attributes:
        own, kept: the session's cache and the rows of it that still hold.
        source, ready: another cache with more of them now, and how many; None, `kept` if none.
        leader, coming: the cache that has or will have most.
    """

    own: KVCache | None
    kept: int
    source: KVCache | None = None
    ready: int = 0
    leader: KVCache | None = None
    coming: int = 0

    def __post_init__(self) -> None:
        self.ready = self.coming = self.kept


class CacheStore:
    """All caches of an engine, under a budget of tokens.

    Args:
        budget: tokens of capacity that idle and running conversations may hold together.
    """

    def __init__(self, shape: Shape, budget: int) -> None:
        self.shape, self.budget = shape, budget
        self.caches: list[KVCache] = []
        self.evicted = 0
        self._sessions: dict[str, KVCache] = {}
        self._clock = 0

    @property
    def held(self) -> int:
        """Tokens of capacity in use."""
        return sum(c.capacity for c in self.caches)

    @property
    def sessions(self) -> frozenset[str]:
        """Names of the live conversations."""
        return frozenset(self._sessions)

    def match(self, session: str, tokens: list[int]) -> Match:
        """What there is of `tokens` already: in the session's own cache, and in others'."""
        own = self._sessions.get(session) if session else None
        if own is not None and own.busy:
            own = None
        # The last token is always computed anew: its output row is what is sampled from.
        kept = min(common_prefix(own.tokens, tokens), len(tokens) - 1) if own else 0
        found = Match(own, kept)
        for cache in self.caches:
            if cache is own or len(cache.prompt) <= found.ready:
                continue
            rows = shareable(cache.prompt, tokens)
            if rows > found.coming:
                found.leader, found.coming = cache, rows
            if rows > len(cache.tokens):
                # Its sequence is still computing: whole blocks only.
                rows = len(cache.tokens) - len(cache.tokens) % BLOCK
            if rows > found.ready:
                found.source, found.ready = cache, rows
        return found

    def claim(self, session: str, tokens: list[int], found: Match) -> KVCache:
        """The cache that a run over `tokens` starts from, marked busy.

        It is the session's own, cut back to what `tokens` still start with, or a new one; either
        takes over rows of another conversation when that has more of this prompt.
        """
        cache = found.own
        if cache is None:
            cache = KVCache("" if session in self._sessions else session)
            self.caches.append(cache)
            if cache.session:
                self._sessions[session] = cache
        cache.cut(found.kept)
        cache.busy = True
        if found.source is not None:
            cache.copy_from(found.source, found.ready, self.shape)
            self._touch(found.source)
        if found.source is not None or not cache.tokens:
            cache.prompt = tokens[:-1]
        return cache

    def release(self, cache: KVCache) -> None:
        """The run over it is done; the rows stay for the next turn."""
        cache.busy = False
        self._touch(cache)
        if len(cache.tokens) < len(cache.prompt):
            cache.cut(len(cache.tokens))
        if not cache.session:
            self._retire(cache)

    def end(self, session: str) -> None:
        """The conversation is over. Its prompt stays for siblings yet to come, unless another
        conversation holds the same; the rest is freed."""
        cache = self._sessions.pop(session, None)
        if cache is None:
            return
        cache.session = ""
        if not cache.busy:
            self._retire(cache)

    def drop(self, cache: KVCache) -> None:
        if cache in self.caches:
            self.caches.remove(cache)
        if self._sessions.get(cache.session) is cache:
            del self._sessions[cache.session]
        cache.clear()

    def make_room(self, need: int, keep: tuple[KVCache | None, ...] = ()) -> bool:
        """Evict idle caches, ended ones first, then least recently used, until `need` more
        tokens fit. False when busy ones alone leave no such room."""
        excess = self.held + need - self.budget
        for cache in self._idle():
            if excess <= 0:
                break
            if cache in keep:
                continue
            excess -= cache.capacity
            self.evicted += bool(cache.session)
            self.drop(cache)
        return excess <= 0

    def clear(self) -> None:
        """Forget every row: the weights that made them are gone."""
        for cache in self.caches:
            cache.clear()
        self.caches = [c for c in self.caches if c.busy]
        self._sessions = {c.session: c for c in self.caches if c.session}

    def _idle(self) -> Iterator[KVCache]:
        idle = [c for c in self.caches if not c.busy]
        yield from sorted(idle, key=lambda c: (c.session != "", c.used))

    def _retire(self, cache: KVCache) -> None:
        kept = min(len(cache.prompt), len(cache.tokens))
        prompt = cache.prompt[:kept]
        others = (c for c in self.caches if c is not cache)
        if kept < BLOCK or any(c.tokens[:kept] == prompt and c.prompt == prompt for c in others):
            self.drop(cache)
            return
        if cache.kv is not None and cache.capacity > kept + BLOCK:
            cache.kv = cache.kv[:, :, :, :kept].clone()
        cache.tokens, cache.prompt = cache.tokens[:kept], prompt

    def _touch(self, cache: KVCache) -> None:
        self._clock += 1
        cache.used = self._clock


def shareable(prompt: list[int], tokens: list[int]) -> int:
    """Rows that a run over `tokens` may take from a cache of `prompt`: all but the last token of
    the very same prompt, else whole blocks. Anything between would change the last bits."""
    want = len(tokens) - 1
    common = common_prefix(prompt, tokens[:want])
    if common == want == len(prompt):
        return want
    return common - common % BLOCK


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the longest common start; costs little when there is none."""
    end = min(len(a), len(b))
    low, width = 0, BLOCK
    while low < end and a[low : low + width] == b[low : low + width]:
        low, width = low + width, 2 * width
    high = min(low + width, end)
    if low >= end or a[low:high] == b[low:high]:
        return end
    while high - low > 1:
        middle = (low + high) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle
    return low
